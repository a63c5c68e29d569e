from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from iavit.evaluate.robustness import NOISES, RADIUS, SUBSETS, infidelity, max_sensitivity
from iavit.masking.engine import Perturbation
from iavit.model.extractor import Extractor
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation
from tests.evaluate.models import additive
from tests.reference import evaluate as twin


@pytest.fixture(scope="module")
def model() -> IAViT:
    torch.manual_seed(0)
    return IAViT.create("vit_digits", num_classes=10, img_size=28).double().eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    images = torch.randn(3, 3, 28, 28, dtype=torch.float64)
    return Batch(images, torch.tensor([1, 2, 3]))


def explained(maps: Tensor) -> Explanation:
    return Explanation(maps, torch.tensor([4, 0, 9])[: len(maps)], "test")


def removed() -> Tensor:
    """The sets of patches that the infidelity draws from seed 0."""
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(SUBSETS, 1, generator=generator)
    return (torch.rand(SUBSETS, 49, generator=generator) < chance).unflatten(1, (7, 7))


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_infidelity_equals_the_twin(
    model: IAViT, batch: Batch, score: Literal["probability", "logit"]
) -> None:
    explanation = explained(torch.randn(3, 7, 7, dtype=torch.float64))
    found = infidelity(model, batch, explanation, perturbation=Perturbation(score=score, copies=37))
    for i in range(3):

        def answer(image: Tensor, target: int = int(explanation.targets[i])) -> float:
            with torch.no_grad():
                logits = model.predict(image[None])[0]
            return float((logits.softmax(dim=0) if score == "probability" else logits)[target])

        expected = twin.infidelity(answer, batch.images[i], explanation.maps[i], removed())
        assert float(found[i]) == pytest.approx(expected, rel=1e-4)


def test_a_map_that_foretells_every_drop_has_no_infidelity() -> None:
    """A model that adds pixels up: what a pixel adds is what removing it takes away."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, 2, 3, dtype=torch.float64, generator=generator)
    batch, targets = Batch(images, torch.zeros(2, dtype=torch.long)), torch.tensor([0, 0])
    model, how = additive((2, 3), 1), Perturbation(score="logit")
    for factor in (1.0, 0.01):  # of any scale
        explanation = Explanation(factor * images.mean(dim=1), targets, "test")
        found = infidelity(model, batch, explanation, perturbation=how)
        assert found.tolist() == pytest.approx([0.0, 0.0], abs=1e-9)
    wrong = Explanation(torch.ones(2, 2, 3), targets, "test")
    assert (infidelity(model, batch, wrong, perturbation=how) > 0.1).all()


def noise() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.rand(NOISES, 3, 28, 28, generator=generator) - 1) * RADIUS


def linear(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """A map that is the image's own first 7 x 7 pixels."""
    return Explanation(images[:, 0, :7, :7], targets, "linear")


def test_sensitivity_is_the_largest_change_over_the_norm(model: IAViT, batch: Batch) -> None:
    explanation = linear(model, batch.images, torch.tensor([4, 0, 9]))
    found = max_sensitivity(model, batch, explanation, explain=linear)
    largest = noise()[:, 0, :7, :7].flatten(1).norm(dim=1).max()
    expected = [float(largest / heat.norm()) for heat in explanation.maps]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_map_that_ignores_the_image_is_not_sensitive(model: IAViT, batch: Batch) -> None:
    def constant(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
        return Explanation(torch.ones(len(images), 7, 7), targets, "constant")

    explanation = constant(model, batch.images, torch.tensor([4, 0, 9]))
    assert max_sensitivity(model, batch, explanation, explain=constant).tolist() == [0.0] * 3


def test_a_batch_says_what_its_images_say_alone(model: IAViT, batch: Batch) -> None:
    maps = torch.rand(3, 28, 28, dtype=torch.float64)  # in pixels
    targets = torch.tensor([4, 0, 9])
    together = [
        infidelity(model, batch, Explanation(maps, targets, "test")),
        max_sensitivity(model, batch, Explanation(maps, targets, "test"), explain=linear),
    ]
    for i in range(3):
        one = Batch(batch.images[i : i + 1], batch.labels[i : i + 1])
        alone = Explanation(maps[i : i + 1], targets[i : i + 1], "test")
        scores = [
            infidelity(model, one, alone),
            max_sensitivity(model, one, alone, explain=linear),
        ]
        for whole, part in zip(together, scores, strict=True):
            assert float(part) == pytest.approx(float(whole[i]), rel=1e-5)


def test_a_plain_transformer_is_measured_too(model: IAViT, batch: Batch) -> None:
    explanation = explained(torch.rand(3, 7, 7, dtype=torch.float64))
    backbone = model.extractor.backbone
    assert isinstance(model.extractor, Extractor)
    found = infidelity(backbone, batch, explanation)
    assert torch.equal(found, infidelity(model, batch, explanation))
