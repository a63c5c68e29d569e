from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iavit.evaluate.faithfulness import area, curves, scores
from iavit.evaluate.perturbation import masked_probabilities, patch_order
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation
from tests.reference import evaluate as twin


@pytest.fixture(scope="module")
def model() -> IAViT:
    torch.manual_seed(0)
    return IAViT.create("vit_digits", num_classes=10, img_size=28).double().eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 3, 28, 28, generator=generator, dtype=torch.float64)
    return Batch(images, torch.tensor([1, 2, 3]))


def explained(batch: Batch) -> Explanation:
    generator = torch.Generator().manual_seed(2)
    maps = torch.rand(len(batch), 7, 7, generator=generator, dtype=torch.float64)
    return Explanation(maps, torch.tensor([4, 0, 9]), "test")


@pytest.mark.parametrize("substrate", [0.0, -1.0])
def test_equal_to_one_image_and_one_step_at_a_time(
    model: IAViT, batch: Batch, substrate: float
) -> None:
    explanation = explained(batch)
    of = curves(model, batch, explanation, points=11, substrate=substrate)
    measured = scores(of)
    for i in range(len(batch)):
        areas = {}
        for kind, values in (("deletion", of.deletion), ("insertion", of.insertion)):
            with torch.no_grad():
                fractions, expected = twin.curve(
                    model.predict,
                    batch.images[i],
                    int(explanation.targets[i]),
                    explanation.maps[i],
                    11,
                    substrate,
                    insertion=kind == "insertion",
                )
            assert of.fractions.tolist() == pytest.approx(fractions)
            assert values[i].tolist() == pytest.approx(expected, abs=1e-6)
            areas[kind] = twin.area(fractions, expected)
            assert float(measured[kind].values[i]) == pytest.approx(areas[kind], abs=1e-6)  # type: ignore[index]
        difference = areas["insertion"] - areas["deletion"]
        assert float(measured["difference"].values[i]) == pytest.approx(difference, abs=1e-6)


def test_both_curves_run_between_the_image_and_the_substrate(model: IAViT, batch: Batch) -> None:
    of = curves(model, batch, explained(batch), points=8)
    assert torch.allclose(of.deletion[:, 0], of.insertion[:, -1])
    assert torch.allclose(of.deletion[:, -1], of.insertion[:, 0])


def test_a_batch_equals_its_images(model: IAViT, batch: Batch) -> None:
    explanation = explained(batch)
    together = curves(model, batch, explanation)
    for i in range(len(batch)):
        alone = curves(
            model,
            Batch(batch.images[i : i + 1], batch.labels[i : i + 1]),
            Explanation(explanation.maps[i : i + 1], explanation.targets[i : i + 1], "test"),
        )
        assert torch.allclose(alone.deletion[0], together.deletion[i])
        assert torch.allclose(alone.insertion[0], together.insertion[i])


def test_copies_are_packed_across_images_and_none_is_lost() -> None:
    """A model that counts visible pixels; 5 copies of 3 images in passes of 4."""
    sizes: list[int] = []

    def count_visible(images: Tensor) -> Tensor:
        sizes.append(len(images))
        total = images.flatten(1).sum(dim=1)
        return torch.stack([total, torch.zeros_like(total)], dim=1)

    generator = torch.Generator().manual_seed(0)
    visible = torch.rand(3, 5, 2, 2, generator=generator) < 0.5
    images = torch.full((3, 3, 4, 4), 0.01)
    targets = torch.zeros(3, dtype=torch.long)
    found = masked_probabilities(count_visible, images, targets, visible, 0.0, batch_size=4)
    expected = torch.sigmoid(visible.flatten(2).sum(dim=2) * 4 * 3 * 0.01)
    assert torch.allclose(found, expected)
    assert sizes == [4, 4, 4, 3]


def test_order_by_hand() -> None:
    maps = torch.tensor([[[0.2, 0.9, -0.5], [0.4, 0.1, 0.3]]])
    assert patch_order(maps, (2, 3)).tolist() == [[3, 0, 5, 1, 4, 2]]


def test_a_map_in_pixels_ranks_by_the_mean_over_each_patch() -> None:
    pixels = torch.tensor([[[1.0, 1.0, 4.0, 0.0], [1.0, 1.0, 4.0, 0.0]]])
    assert patch_order(pixels, (1, 2)).tolist() == [[1, 0]]


def test_equal_patches_are_not_ordered_by_their_number() -> None:
    order = patch_order(torch.zeros(400, 3, 3), (3, 3))
    assert torch.equal(order.sort(dim=1).values, torch.arange(9).expand(400, 9))
    assert (order.float().mean(dim=0) - 4).abs().max() < 0.5


def test_area_by_hand() -> None:
    fractions = torch.tensor([0.0, 0.25, 1.0])
    curve = torch.tensor([[1.0, 0.5, 0.1]])
    assert float(area(fractions, curve)) == pytest.approx(0.25 * 0.75 + 0.75 * 0.3)


def test_knowing_the_answer_beats_knowing_its_opposite() -> None:
    """An image whose class is the brightness of one patch, explained rightly and wrongly."""

    class OnePatch(torch.nn.Module):
        grid = (2, 2)

        def predict(self, images: Tensor) -> Tensor:
            bright = 5 * images[:, :, :2, :2].mean(dim=(1, 2, 3))
            return torch.stack([bright, -bright], dim=1)

    images = torch.ones(1, 3, 4, 4)
    targets = torch.zeros(1, dtype=torch.long)
    batch = Batch(images, targets)
    right = Explanation(torch.tensor([[[1.0, 0.2], [0.1, 0.0]]]), targets, "right")
    wrong = Explanation(-right.maps, targets, "wrong")
    found = [
        float(scores(curves(OnePatch(), batch, of, points=5))["difference"].values)  # type: ignore[arg-type]
        for of in (right, wrong)
    ]
    # Exactly: the probability is 1 with the patch and 1/2 without it, but for exp(-10).
    assert found == pytest.approx([0.375, -0.375], abs=1e-4)
