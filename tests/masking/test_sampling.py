from __future__ import annotations

import torch

from iavit.masking.sampling import blend_images, draw_visible, mask_images

CPU = torch.device("cpu")


def test_subsets_come_in_complementary_pairs() -> None:
    visible = draw_visible(7, 11, CPU)
    assert visible.shape == (7, 11)
    assert torch.equal(visible[0:6:2], ~visible[1:6:2])


def test_all_is_drawn_where_the_images_are() -> None:
    images = torch.randn(5, 3, 4, 6)
    with torch.device("meta"):  # where else what is made without a device
        visible = draw_visible(5, 6, CPU)
        masked = mask_images(images, visible, (2, 3))
    assert visible.device == masked.device == CPU


def test_every_size_is_as_likely_as_any_other() -> None:
    sizes = draw_visible(40_000, 4, CPU).sum(dim=1)
    shares = sizes.bincount(minlength=5) / len(sizes)
    torch.testing.assert_close(shares, torch.full((5,), 0.2), atol=0.01, rtol=0)


def test_visible_patches_stay_and_the_others_go() -> None:
    images = 50 + torch.rand(40, 3, 4, 6)  # unlike any substrate but blur
    visible = draw_visible(40, 6, CPU)
    masked = mask_images(images, visible, (2, 3))
    kept = visible.view(40, 1, 2, 3).repeat_interleave(2, 2).repeat_interleave(2, 3)
    kept = kept.expand_as(images)
    assert torch.equal(masked[kept], images[kept])
    assert (masked[~kept] != images[~kept]).all()


def test_everything_visible_is_the_image_itself() -> None:
    images = torch.randn(5, 3, 4, 4)
    assert torch.equal(mask_images(images, torch.ones(5, 4, dtype=torch.bool), (2, 2)), images)


def test_substrates_differ_from_image_to_image() -> None:
    """With nothing visible: the mean colour, one colour, noise, and blur of the image."""
    images = torch.full((400, 3, 4, 4), 7.0)
    masked = mask_images(images, torch.zeros(400, 4, dtype=torch.bool), (2, 2))
    flat = (masked == masked[:, :, :1, :1]).flatten(1).all(dim=1)
    zero = (masked == 0).flatten(1).all(dim=1)
    blurred = torch.isclose(masked, images).flatten(1).all(dim=1)
    colour = flat & ~zero & ~blurred
    for kind in (zero, blurred, colour, ~flat):
        assert 60 < int(kind.sum()) < 140


def test_blended_from_none_to_all_they_are_the_masked_images() -> None:
    images, visible = torch.randn(40, 3, 4, 6), draw_visible(40, 6, CPU)
    torch.manual_seed(7)
    masked = mask_images(images, visible, (2, 3))
    torch.manual_seed(7)
    assert torch.equal(blend_images(images, visible.float(), (2, 3)), masked)


def test_a_patch_a_quarter_visible_is_a_quarter_of_itself() -> None:
    images, visible = torch.randn(40, 3, 4, 6), torch.full((40, 6), 0.25)
    torch.manual_seed(7)
    nothing = mask_images(images, torch.zeros(40, 6, dtype=torch.bool), (2, 3))
    torch.manual_seed(7)
    blended = blend_images(images, visible, (2, 3))
    torch.testing.assert_close(blended, 0.25 * images + 0.75 * nothing)
