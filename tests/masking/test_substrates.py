from __future__ import annotations

import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from iavit.data.transforms import Normalisation
from iavit.masking.substrates import SUBSTRATES, Drop, Imputation, black, blur, linear, noise
from tests.reference import evaluate as twin


def pictures(count: int = 3, height: int = 13, width: int = 11) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, height, width, generator=generator)


def holes(count: int = 3, height: int = 13, width: int = 11) -> Tensor:
    """Visible pixels: alone, in blocks, at the border and in the corner."""
    generator = torch.Generator().manual_seed(1)
    visible = torch.rand(count, 1, height, width, generator=generator) < 0.6
    visible[0, :, 2:9, 3:8] = False
    visible[1, :, :, :7] = False
    visible[2] = False
    visible[2, :, 5, 4] = True  # all that is known is one pixel
    return visible


@pytest.mark.parametrize("name", SUBSTRATES)
def test_pictures_do_not_depend_on_their_batch(name: str) -> None:
    substrate = SUBSTRATES[name]
    if isinstance(substrate, Drop):
        return
    if isinstance(substrate, Imputation):
        together = substrate.fill(pictures(), holes())
        alone = [substrate.fill(pictures()[i : i + 1], holes()[i : i + 1]) for i in range(3)]
    else:
        together = substrate(pictures())
        alone = [substrate(pictures()[i : i + 1]) for i in range(3)]
    assert together.shape == pictures().shape
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-6)


def test_black_is_pixel_value_0() -> None:
    normalisation = Normalisation((0.1, 0.2, 0.3), (0.5, 0.25, 0.2))
    found = black(pictures(), normalisation=normalisation)
    assert found[2, :, 4, 5].tolist() == pytest.approx([-0.2, -0.8, -1.5])
    assert int(normalisation.restore(found).max()) == 0
    assert float(black(pictures()).max()) == -1.0


def test_mean_is_each_images_own() -> None:
    found = SUBSTRATES["mean"](pictures())  # type: ignore[operator]
    torch.testing.assert_close(found[1, 2, 3, 4], pictures()[1, 2].mean())
    assert found[0, 0, 0, 0] != found[1, 0, 0, 0]


def test_blur_leaves_what_is_flat_and_takes_what_is_fine() -> None:
    flat = torch.full((1, 3, 32, 48), 0.7)
    torch.testing.assert_close(blur(flat), flat)
    fine = pictures(1, 32, 48)
    torch.testing.assert_close(blur(fine), gaussian_blur(fine, [13, 13], [2.0, 2.0]))
    narrow = pictures(1, 4, 50)  # the kernel reaches no further than its reflection
    torch.testing.assert_close(blur(narrow, sigma=5.0), gaussian_blur(narrow, [7, 7], [5.0, 5.0]))
    assert blur(fine).std() < 0.2 * fine.std()
    assert blur(fine, sigma=4.0).std() < blur(fine).std()


def test_noise_is_seeded() -> None:
    assert torch.equal(noise(pictures(1)), noise(pictures(2))[:1])
    assert not torch.equal(noise(pictures()), noise(pictures(), seed=1))
    assert torch.equal(noise(pictures()), noise(pictures(), seed=0))
    named = linear(pictures(), holes(), magnitude=0.01, seed=0)
    assert torch.equal(linear(pictures(), holes()), named)
    assert float(noise(pictures(1, 101, 103)).std()) == pytest.approx(1, abs=0.02)


def test_imputation_is_the_solution_of_its_equations() -> None:
    found = linear(pictures().double(), holes(), magnitude=0.0)
    for i in range(3):
        expected = twin.imputed(pictures()[i], holes()[i, 0])
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # NumPy of what grad-cam does
def test_imputation_is_that_of_grad_cam() -> None:
    found = linear(pictures(), holes(), magnitude=0.0)
    peer = NoisyLinearImputer(noise=0.0)
    for i in range(3):
        expected = peer(pictures()[i], holes()[i, 0].float())
        torch.testing.assert_close(found[i], expected, rtol=0, atol=1e-5)


def test_imputation_by_hand() -> None:
    """One pixel between others in a row of three: only those at its side are in the picture."""
    row = torch.tensor([1.0, 9.0, 4.0]).double().expand(1, 3, 1, 3)
    visible = torch.tensor([[[[True, False, True]]]])
    found = linear(row, visible, magnitude=0.0)
    assert found[0, 0, 0].tolist() == pytest.approx([1.0, 2.5, 4.0], abs=1e-12)


def test_half_precision_is_imputed_in_double() -> None:
    half = pictures().half()
    exact = linear(half.double(), holes(), magnitude=0.0)
    assert torch.equal(linear(half, holes(), magnitude=0.0), exact.half())


def test_noise_is_added_where_pixels_are_imputed_and_nowhere_else() -> None:
    smooth, noisy = (linear(pictures(), holes(), magnitude=m) for m in (0.0, 0.01))
    added = noisy - smooth
    seen = holes().expand_as(added)
    assert added[seen].abs().max() == 0
    assert float(added[~seen].std()) == pytest.approx(0.01, rel=0.1)


def test_of_nothing_visible_nothing_is_known() -> None:
    nothing = torch.zeros(3, 1, 13, 11, dtype=torch.bool)
    assert linear(pictures(), nothing, magnitude=0.0).abs().max() == 0
    assert torch.equal(linear(pictures(), ~nothing), pictures())


def test_each_name_stands_for_its_picture() -> None:
    """Of a picture of 0.4 everywhere, in units in which black is -1."""
    flat = torch.full((1, 3, 32, 48), 0.4)
    expected = {"zeros": 0.0, "mean": 0.4, "black": -1.0, "blur": 0.4}
    for name, value in expected.items():
        substrate = SUBSTRATES[name]
        assert not isinstance(substrate, Imputation | Drop)
        torch.testing.assert_close(substrate(flat), torch.full_like(flat, value))
    assert SUBSTRATES["noise"] is noise
    assert SUBSTRATES["linear"] == Imputation(linear)
    assert SUBSTRATES["drop"] == Drop()
    assert len(SUBSTRATES) == 7
