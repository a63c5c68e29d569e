"""Every way of aligning the attentions; and why the authors' own one is kept for show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from iavit.config import RECIPES, ObjectiveConfig
from iavit.objective.alignment import ALIGNMENTS, alignment_term
from iavit.objective.inputs import Inputs
from tests.objective.outputs import outputs
from tests.reference import objective as twin

TWINS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "mmd": twin.mmd,
    "kl": twin.kl,
    "mse": twin.mse,
    "attention_transfer": twin.attention_transfer,
    "cross_kernel": twin.cross_kernel,
}
# The unbiased estimate of equal samples is below 0: it never counts a point against itself.
LEAST_AT_AGREEMENT = ["mmd", "kl", "mse", "attention_transfer"]
FLOOR = math.exp(-1 / 2)


def attentions(seed: int, images: int = 5, patches: int = 7) -> Tensor:
    """Probability vectors, (B, N), in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, patches, generator=generator, dtype=torch.float64).softmax(dim=1)


def descend(name: str, extractor: Tensor, start: Tensor, *, steps: int) -> Tensor:
    """Gradient descent on the interpreter's attention, as logits; steps of equal length."""
    logits = start.log()
    for _ in range(steps):
        logits.requires_grad_()
        value = ALIGNMENTS[name](extractor, logits.softmax(dim=1))
        (gradient,) = torch.autograd.grad(value, logits)
        logits = (logits - 0.05 * gradient / gradient.norm()).detach()
    return logits.softmax(dim=1)


def test_every_alignment_has_a_twin() -> None:
    assert ALIGNMENTS.keys() == TWINS.keys()


@pytest.mark.parametrize("name", ALIGNMENTS)
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_twin(name: str, seed: int) -> None:
    extractor, interpreter = attentions(2 * seed), attentions(2 * seed + 1)
    value = ALIGNMENTS[name](extractor, interpreter).item()
    assert value == pytest.approx(TWINS[name](extractor, interpreter), abs=1e-9)


@pytest.mark.parametrize("name", LEAST_AT_AGREEMENT)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_is_zero_at_agreement(name: str, dtype: torch.dtype, tolerance: float) -> None:
    e = attentions(0).to(dtype)
    assert ALIGNMENTS[name](e, e.clone()).item() == pytest.approx(0, abs=tolerance)


@pytest.mark.parametrize("name", LEAST_AT_AGREEMENT)
@pytest.mark.parametrize("seed", range(5))
def test_is_above_zero_elsewhere(name: str, seed: int) -> None:
    assert ALIGNMENTS[name](attentions(2 * seed), attentions(2 * seed + 1)) > 1e-4


@pytest.mark.parametrize("name", LEAST_AT_AGREEMENT)
def test_is_at_rest_at_agreement(name: str) -> None:
    e = attentions(0)
    # Through a softmax: kl is least at agreement among probability vectors alone.
    logits = e.log().requires_grad_()
    (gradient,) = torch.autograd.grad(ALIGNMENTS[name](e, logits.softmax(dim=1)), logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["kl", "mse", "attention_transfer"])
def test_compares_image_by_image(name: str) -> None:
    e = attentions(0)
    assert ALIGNMENTS[name](e, e.flip(0)) > 1e-4


@pytest.mark.parametrize("name", ["mmd", "cross_kernel"])
def test_compares_batches_in_any_order(name: str) -> None:
    e, a = attentions(0), attentions(1)
    torch.testing.assert_close(ALIGNMENTS[name](e, a.flip(0)), ALIGNMENTS[name](e, a))


def test_kl_by_hand() -> None:
    e = torch.tensor([[3 / 4, 1 / 4], [1 / 2, 1 / 2]], dtype=torch.float64)
    a = torch.tensor([[1 / 2, 1 / 2], [1 / 2, 1 / 2]], dtype=torch.float64)
    expected = (3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)) / 2
    assert ALIGNMENTS["kl"](e, a).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_patches_without_attention_are_no_trouble(name: str) -> None:
    e = torch.eye(3, 5)
    a = torch.eye(3, 5).flip(1).requires_grad_()
    value = ALIGNMENTS[name](e, a)
    (gradient,) = torch.autograd.grad(value, a)
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_alignments_that_can_be_asked_for_are_those_that_exist() -> None:
    names = get_args(get_type_hints(ObjectiveConfig)["alignment"])
    assert set(names) == ALIGNMENTS.keys()


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_the_term_is_the_alignment_asked_for(name: Any) -> None:
    output = outputs()
    term = alignment_term(Inputs(output, None), replace(RECIPES["paper"], alignment=name))
    expected = ALIGNMENTS[name](output.extractor_attention, output.interpreter_attention)
    assert term.item() == expected.item()


# Defect 1 of the authors' code: what follows documents it.


def test_cross_kernel_is_at_its_floor_where_all_distances_are_equal() -> None:
    # Nothing shared: every extractor's attention is as far from every interpreter's.
    one_hot = torch.eye(6, dtype=torch.float64)
    value = ALIGNMENTS["cross_kernel"](one_hot[:3], one_hot[3:])
    assert value.item() == pytest.approx(FLOOR)


@pytest.mark.parametrize("seed", range(5))
def test_cross_kernel_is_above_its_floor_even_at_agreement(seed: int) -> None:
    e = attentions(seed)
    assert ALIGNMENTS["cross_kernel"](e, attentions(seed + 100)) > FLOOR
    assert ALIGNMENTS["cross_kernel"](e, e) > FLOOR


def test_the_width_of_cross_kernel_is_a_constant_to_its_gradient() -> None:
    e, a = attentions(0), attentions(1).requires_grad_()
    (found,) = torch.autograd.grad(ALIGNMENTS["cross_kernel"](e, a), a)
    torch.testing.assert_close(found, twin.cross_kernel_gradient(e, a.detach()))
    distances = torch.cdist(e, a).square()
    through_the_width = torch.exp(-distances / (2 * distances.mean())).mean()
    (other,) = torch.autograd.grad(through_the_width, a)
    assert found.norm() > 3 * other.norm()


@pytest.mark.parametrize("seed", range(5))
def test_a_step_on_cross_kernel_leaves_agreement(seed: int) -> None:
    e = attentions(seed)
    moved = descend("cross_kernel", e, e, steps=1)
    # Not its value falls, as the width grows along, but the attentions part.
    assert torch.cdist(e, moved).square().mean() > torch.cdist(e, e).square().mean()
    assert ALIGNMENTS["mmd"](e, moved) > 1e-6
    assert ALIGNMENTS["mse"](e, moved) > 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_descent_on_cross_kernel_parts_what_descent_on_mmd_joins(seed: int) -> None:
    e = attentions(seed)
    start = (e.log() + 0.3 * attentions(seed + 100).log()).softmax(dim=1)
    parted = descend("cross_kernel", e, start, steps=100)
    joined = descend("mmd", e, start, steps=100)
    for distance in (ALIGNMENTS["mmd"], ALIGNMENTS["mse"]):
        assert distance(e, joined) < distance(e, start) < distance(e, parted)


@pytest.mark.parametrize("seed", range(5))
def test_a_step_on_mmd_lowers_mmd(seed: int) -> None:
    e, start = attentions(seed), attentions(seed + 100)
    assert ALIGNMENTS["mmd"](e, descend("mmd", e, start, steps=1)) < ALIGNMENTS["mmd"](e, start)
