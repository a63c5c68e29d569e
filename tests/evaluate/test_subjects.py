"""What a measure reads of a batch: curves on each substrate, computed once."""

from __future__ import annotations

import pytest
import torch

from iavit.evaluate.subjects import Explained
from iavit.masking.engine import Perturbation
from iavit.masking.substrates import SUBSTRATES
from iavit.types import Batch, Explanation
from tests.evaluate.models import additive, painted

BRIGHTNESS = torch.tensor([[[0.5, -0.25], [1.0, 0.25]]]).double()


def explained(*substrates: str) -> Explained:
    """Four patches that add up, explained by their own brightness."""
    batch = Batch(painted(BRIGHTNESS, 2), torch.tensor([0]))
    return Explained(
        additive((2, 2), 2),
        batch,
        Explanation(BRIGHTNESS, torch.tensor([0]), "brightness"),
        substrates={name: SUBSTRATES[name] for name in substrates},
        points=9,
        perturbation=Perturbation(score="logit"),
    )


def test_curves_on_each_substrate_by_hand() -> None:
    found = explained("zeros", "mean").curves
    assert list(found) == ["zeros", "mean"]
    assert found["zeros"].deletion[0].tolist() == pytest.approx([1.5, 0.5, 0.0, -0.25, 0.0])
    assert found["zeros"].insertion[0].tolist() == pytest.approx([0.0, 1.0, 1.5, 1.75, 1.5])
    mean = 1.5 / 4  # stands in each patch that is missing
    expected = [1.5, 0.5 + mean, 2 * mean, -0.25 + 3 * mean, 4 * mean]
    assert found["mean"].deletion[0].tolist() == pytest.approx(expected)


def test_measures_read_the_first_substrate() -> None:
    on_mean = explained("mean", "zeros")
    assert on_mean.first_curves is on_mean.curves["mean"]
    assert on_mean.on_first_substrate.substrate is SUBSTRATES["mean"]
    assert on_mean.on_first_substrate.score == "logit"


def test_curves_are_computed_once_for_all_measures() -> None:
    once = explained("zeros")
    passes: list[int] = []
    head = once.model.get_submodule("head")
    head.register_forward_hook(lambda *_: passes.append(1))
    assert once.curves is once.curves
    counted = len(passes)
    assert counted > 0
    assert once.first_curves.insertion.shape == (1, 5)
    assert len(passes) == counted


def test_zeros_stand_for_hidden_patches_unless_others_are_named() -> None:
    plain = explained("zeros")
    bare = Explained(plain.model, plain.batch, plain.explanation, points=9)
    assert list(bare.substrates) == ["zeros"]
