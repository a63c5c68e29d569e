from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from iavit.evaluate.faithfulness import area, curves, road, schedule
from iavit.evaluate.metrics import METRICS
from iavit.evaluate.subjects import Explained
from iavit.masking.engine import Perturbation
from iavit.masking.substrates import zeros
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation
from tests.evaluate.models import additive, painted, read_off
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


def white(images: Tensor) -> Tensor:
    return torch.ones_like(images)


@pytest.mark.parametrize(("substrate", "value"), [(zeros, 0.0), (white, 1.0)])
def test_equal_to_one_image_and_one_step_at_a_time(
    model: IAViT, batch: Batch, substrate: Callable[[Tensor], Tensor], value: float
) -> None:
    explanation = explained(batch)
    even = tuple(at / 10 for at in range(11))
    of = curves(model, batch, explanation, fractions=even, perturbation=Perturbation(substrate))
    measured = read_off(of)
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
                    value,
                    insertion=kind == "insertion",
                )
            assert of.fractions.tolist() == pytest.approx(fractions)
            assert values[i].tolist() == pytest.approx(expected, abs=1e-12)
            areas[kind] = twin.area(fractions, expected)
            assert float(measured[kind][i]) == pytest.approx(areas[kind], abs=1e-6)
        difference = areas["insertion"] - areas["deletion"]
        assert float(measured["difference"][i]) == pytest.approx(difference, abs=1e-6)


def test_both_curves_run_between_the_image_and_the_substrate(model: IAViT, batch: Batch) -> None:
    of = curves(model, batch, explained(batch), points=8)
    assert torch.equal(of.deletion[:, 0], of.insertion[:, -1])
    assert torch.equal(of.deletion[:, -1], of.insertion[:, 0])


def test_a_batch_equals_its_images(model: IAViT, batch: Batch) -> None:
    explanation = explained(batch)
    together = curves(model, batch, explanation, points=5)
    for i in range(len(batch)):
        alone = curves(
            model,
            Batch(batch.images[i : i + 1], batch.labels[i : i + 1]),
            Explanation(explanation.maps[i : i + 1], explanation.targets[i : i + 1], "test"),
            points=5,
        )
        assert torch.allclose(alone.deletion[0], together.deletion[i])
        assert torch.allclose(alone.insertion[0], together.insertion[i])


def test_points_are_denser_where_the_most_important_units_go() -> None:
    assert schedule(64, 5) == [0, 8, 23, 42, 64]  # 64 * (1/4, 2/4, 3/4) ** 1.5
    assert schedule(4, 50) == [0, 1, 2, 3, 4]


def test_area_by_hand() -> None:
    fractions = torch.tensor([0.0, 0.25, 1.0])
    curve = torch.tensor([[1.0, 0.5, 0.1]])
    assert float(area(fractions, curve)) == pytest.approx(0.25 * 0.75 + 0.75 * 0.3)


def test_knowing_the_answer_beats_knowing_its_opposite() -> None:
    """An image whose class is the brightness of one patch, explained rightly and wrongly."""
    bright = torch.zeros(1, 2, 2, dtype=torch.float64)
    bright[0, 0, 0] = 20.0
    targets = torch.zeros(1, dtype=torch.long)
    batch = Batch(painted(bright, 2), targets)
    right = Explanation(torch.tensor([[[1.0, 0.2], [0.1, 0.0]]]), targets, "right")
    wrong = Explanation(-right.maps, targets, "wrong")
    even = (0.0, 0.25, 0.5, 0.75, 1.0)
    found = [
        float(read_off(curves(additive((2, 2), 2), batch, of, fractions=even))["difference"])
        for of in (right, wrong)
    ]
    # Exactly: the probability is 1 with the patch and 1/2 without it, but for exp(-40).
    assert found == pytest.approx([0.375, -0.375], abs=1e-6)


@pytest.fixture(scope="module")
def by_hand() -> tuple[Batch, Explanation]:
    """Five patches in a row, of logits 1, 0.5, 0.25, -1, 0, ranked 0, 3, 1, 4, 2."""
    values = torch.tensor([[[1.0, 0.5, 0.25, -1.0, 0.0]]], dtype=torch.float64)
    maps = torch.tensor([[[0.9, 0.5, 0.1, 0.7, 0.3]]])
    targets = torch.zeros(1, dtype=torch.long)
    return Batch(painted(values, 2), targets), Explanation(maps, targets, "by hand")


def test_every_measure_by_hand(by_hand: tuple[Batch, Explanation]) -> None:
    model = additive((1, 5), 2)
    how = Perturbation(score="logit")
    of = curves(model, *by_hand, fractions=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0), perturbation=how)
    # Logits 1, 0, 0.5, 0.5, 0.75 with the first 1, 2, ... of them; 0.75 in all.
    inserted, removed = [0.0, 1.0, 0.0, 0.5, 0.5, 0.75], [0.75, -0.25, 0.75, 0.25, 0.25, 0.0]
    assert of.insertion[0].tolist() == pytest.approx(inserted)
    assert of.deletion[0].tolist() == pytest.approx(removed)
    assert of.deletion_chosen[0].tolist() == [True, False, True, True, True, True]
    expected = {
        "insertion": 0.475,
        "deletion": 0.275,
        "difference": 0.2,
        "symmetric_relevance_gain": 0.2,
        # From 0.1 to 0.9: 1/2 falling to 0 at 0.2, rising to 1 at 0.4, 1 from there on.
        "positive_perturbation": (0.1 * 0.25 + 0.2 * 0.5 + 0.4 + 0.1) / 0.8,
        "negative_perturbation": 1.0,
        # The first f of 0.01, 0.05, 0.1, 0.2, 0.5: between 0 and 1 patch, and 2.5 patches.
        "sufficiency": 0.75 - (0.05 + 0.25 + 0.5 + 1.0 + 0.25) / 5,
        "comprehensiveness": 0.75 - (0.70 + 0.5 + 0.25 - 0.25 + 0.5) / 5,
    }
    measured = {name: float(values) for name, values in read_off(of).items()}
    assert measured == pytest.approx(expected, abs=1e-6)
    for name in expected:
        assert float(METRICS[name].compute(Explained(model, *by_hand))) != 0  # type: ignore[arg-type]


def test_what_is_read_off_the_curves_is_that_of_the_twin(model: IAViT, batch: Batch) -> None:
    of = curves(model, batch, explained(batch), points=9)
    found = read_off(of)
    at = of.fractions.tolist()
    for i in range(len(batch)):
        went, came = of.deletion[i].tolist(), of.insertion[i].tolist()
        stayed = [float(chosen) for chosen in of.deletion_chosen[i]]
        kept = [float(chosen) for chosen in of.insertion_chosen[i]]
        alone = [came[-1] - twin.read(at, came, f) for f in (0.01, 0.05, 0.1, 0.2, 0.5)]
        without = [came[-1] - twin.read(at, went, f) for f in (0.01, 0.05, 0.1, 0.2, 0.5)]
        expected = {
            "symmetric_relevance_gain": twin.area(at, came) - twin.area(at, went),
            "positive_perturbation": twin.mean_between(at, stayed, 0.1, 0.9),
            "negative_perturbation": twin.mean_between(at, kept, 0.1, 0.9),
            "sufficiency": sum(alone) / 5,
            "comprehensiveness": sum(without) / 5,
        }
        for name, value in expected.items():
            assert float(found[name][i]) == pytest.approx(value, abs=1e-5), name


def test_better_says_which_way(by_hand: tuple[Batch, Explanation]) -> None:
    """On a model that only adds up, the true contributions beat their opposite everywhere."""
    batch, explanation = by_hand
    model = additive((1, 5), 2)
    truth = batch.images[:, 0, ::2, ::2]
    for name in (*read_off(curves(model, batch, explanation)), "road"):
        right, wrong = (
            METRICS[name].compute(
                Explained(model, batch, Explanation(maps, explanation.targets, "test"))
            )
            for maps in (truth, -truth)
        )
        assert isinstance(right, Tensor)
        assert isinstance(wrong, Tensor)
        gain = float(right - wrong)
        assert (gain if METRICS[name].better == "higher" else -gain) > 0, name
        assert right.dtype is torch.float32


def test_road_removes_from_both_ends(by_hand: tuple[Batch, Explanation]) -> None:
    """Nothing removed and everything removed are equal from both ends; the opposite map, opposed.

    Ranked the other way round, what was removed last is removed first.
    """
    batch, explanation = by_hand
    model = additive((1, 5), 2)
    assert float(road(model, batch, explanation, percentiles=(0.0, 1.0))) == 0.0
    opposite = Explanation(-explanation.maps, explanation.targets, "opposite")
    one, other = (road(model, batch, of) for of in (explanation, opposite))
    assert float(one) == pytest.approx(-float(other))
    assert float(one) != 0
