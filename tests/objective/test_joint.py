"""The joint objective: its terms, their weights, and where their gradients go."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from iavit.config import ObjectiveConfig
from iavit.objective.alignment import ALIGNMENTS
from iavit.objective.joint import Masked, PathSample, asks_interpreter, joint_objective
from iavit.objective.simulation import simulation
from iavit.types import Output
from tests.reference import objective as twin

BATCH, CLASSES, PATCHES = 5, 3, 7
LABELS = torch.tensor([0, 2, 1, 1, 0])


def logits(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 4 * torch.randn(BATCH, CLASSES, generator=generator, dtype=torch.float64)


def output() -> Output:
    """Every part a leaf that gathers gradient."""
    generator = torch.Generator().manual_seed(2)
    attentions = torch.randn(2, BATCH, PATCHES, generator=generator, dtype=torch.float64)
    extractor, interpreter = attentions.softmax(dim=-1)
    return Output(
        logits(0).requires_grad_(),
        logits(1).requires_grad_(),
        extractor.clone().requires_grad_(),
        interpreter.clone().requires_grad_(),
    )


def reached(term: Tensor, parts: Output) -> set[str]:
    """The parts of the output that a term's gradient reaches."""
    names = list(vars(parts))
    gradients = torch.autograd.grad(
        term, [getattr(parts, name) for name in names], allow_unused=True
    )
    pairs = zip(names, gradients, strict=True)
    return {name for name, gradient in pairs if gradient is not None and gradient.any()}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_simulation_equals_the_twin(temperature: float) -> None:
    value = simulation(logits(0), logits(1), temperature).item()
    assert value == pytest.approx(twin.simulation(logits(0), logits(1), temperature))


def test_simulation_by_hand() -> None:
    # At T = 3 the first teacher says (3/4, 1/4) and the second (1/2, 1/2), as both students do.
    teacher = torch.tensor([[3 * math.log(3), 0.0], [7.0, 7.0]], dtype=torch.float64)
    student = torch.tensor([[5.0, 5.0], [0.0, 0.0]], dtype=torch.float64)
    divergence = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    assert simulation(teacher, student, 3.0).item() == pytest.approx(9 * divergence / 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_simulation_of_equal_logits_is_zero_and_at_rest(temperature: float) -> None:
    student = logits(0).requires_grad_()
    value = simulation(logits(0), student, temperature)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def test_simulation_ignores_what_a_softmax_ignores() -> None:
    shifted = logits(1) + torch.arange(BATCH)[:, None]
    torch.testing.assert_close(
        simulation(logits(0), shifted, 3.0), simulation(logits(0), logits(1), 3.0)
    )


def test_simulation_carries_the_square_of_the_temperature() -> None:
    cold = simulation(logits(0) / 3, logits(1) / 3, 1.0)
    torch.testing.assert_close(simulation(logits(0), logits(1), 3.0), 9 * cold)


def test_cross_entropy_is_the_predictors() -> None:
    terms = joint_objective(output(), LABELS, ObjectiveConfig())
    expected = twin.cross_entropy(logits(0), LABELS)
    assert terms["cross_entropy"].item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_simulation_takes_the_predictor_as_teacher(temperature: float) -> None:
    terms = joint_objective(output(), LABELS, ObjectiveConfig(temperature=temperature))
    expected = twin.simulation(logits(0), logits(1), temperature)
    assert terms["simulation"].item() == pytest.approx(expected)


def test_alignments_that_can_be_asked_for_are_those_that_exist() -> None:
    names = get_args(get_type_hints(ObjectiveConfig)["alignment"])
    assert set(names) == ALIGNMENTS.keys()


@pytest.mark.parametrize("name", ALIGNMENTS)
def test_alignment_is_the_one_asked_for(name: Any) -> None:
    parts = output()
    terms = joint_objective(parts, LABELS, ObjectiveConfig(alignment=name))
    expected = ALIGNMENTS[name](parts.extractor_attention, parts.interpreter_attention)
    torch.testing.assert_close(terms["alignment"], expected)


@pytest.mark.parametrize("simulation_weight", [0.0, 0.7])
@pytest.mark.parametrize("alignment_weight", [0.0, 11.0])
def test_loss_is_the_weighted_sum_of_the_terms_that_weigh(
    simulation_weight: float, alignment_weight: float
) -> None:
    config = ObjectiveConfig(simulation_weight=simulation_weight, alignment_weight=alignment_weight)
    terms = joint_objective(output(), LABELS, config)
    weights = {
        "cross_entropy": 1.0,
        "simulation": simulation_weight,
        "alignment": alignment_weight,
    }
    assert terms.keys() == {"loss"} | {name for name, weight in weights.items() if weight}
    expected = sum(weights[name] * terms[name].item() for name in terms if name != "loss")
    assert terms["loss"].item() == pytest.approx(expected)
    assert all(term.shape == () for term in terms.values())


def test_cross_entropy_reaches_the_predictor_alone() -> None:
    parts = output()
    terms = joint_objective(parts, LABELS, ObjectiveConfig())
    assert reached(terms["cross_entropy"], parts) == {"logits"}


@pytest.mark.parametrize("teacher_gradient", [False, True])
def test_simulation_reaches_the_teacher_only_if_told(teacher_gradient: bool) -> None:
    parts = output()
    config = ObjectiveConfig(teacher_gradient=teacher_gradient)
    term = joint_objective(parts, LABELS, config)["simulation"]
    expected = {"interpreter_logits"} | ({"logits"} if teacher_gradient else set())
    assert reached(term, parts) == expected


@pytest.mark.parametrize("attention_gradient", [False, True])
@pytest.mark.parametrize("name", ALIGNMENTS)
def test_alignment_reaches_the_extractor_only_if_told(name: Any, attention_gradient: bool) -> None:
    parts = output()
    config = ObjectiveConfig(alignment=name, attention_gradient=attention_gradient)
    term = joint_objective(parts, LABELS, config)["alignment"]
    expected = {"interpreter_attention"}
    if attention_gradient:
        expected.add("extractor_attention")
    assert reached(term, parts) == expected


def test_gradients_do_not_change_the_values() -> None:
    still = ObjectiveConfig()
    moving = replace(still, teacher_gradient=True, attention_gradient=True)
    assert joint_objective(output(), LABELS, moving) == joint_objective(output(), LABELS, still)


def test_loss_reaches_every_part_that_is_not_a_target() -> None:
    parts = output()
    loss = joint_objective(parts, LABELS, ObjectiveConfig())["loss"]
    assert reached(loss, parts) == {"logits", "interpreter_logits", "interpreter_attention"}


@pytest.mark.parametrize("alignment", list(ALIGNMENTS))
def test_terms_are_computed_in_full_precision_under_autocast(alignment: str) -> None:
    """Half-precision outputs: the terms are those of the same numbers in float32."""
    half = Output(**{name: value.detach().bfloat16() for name, value in vars(output()).items()})
    full = Output(**{name: value.float() for name, value in vars(half).items()})
    config = ObjectiveConfig(alignment=alignment)  # type: ignore[arg-type]
    config = replace(config, subset_simulation_weight=0.3, path_weight=0.7)
    masked = Masked(torch.ones(2, PATCHES, dtype=torch.bool), half.logits[:2], half.logits[1:3])
    path = PathSample(half.interpreter_attention, half.extractor_attention)
    with torch.autocast("cpu", torch.bfloat16):
        found = joint_objective(half, LABELS, config, masked, path)
    masked = Masked(masked.visible, full.logits[:2], full.logits[1:3])
    path = PathSample(full.interpreter_attention, full.extractor_attention)
    expected = joint_objective(full, LABELS, config, masked, path)
    assert {"subset_simulation", "path"} <= found.keys()
    assert found.keys() == expected.keys()
    for name, term in found.items():
        assert term.dtype == torch.float32
        assert torch.equal(term, expected[name]), name


def on_parts() -> tuple[Masked, PathSample]:
    """Two copies, and path samples of three images."""
    generator = torch.Generator().manual_seed(4)
    visible = torch.rand(2, PATCHES, generator=generator) < 0.5
    partial = torch.randn(2, CLASSES, generator=generator, dtype=torch.float64)
    sample = torch.randn(2, 3, PATCHES, generator=generator, dtype=torch.float64)
    return Masked(visible, logits(3)[:2], partial.requires_grad_()), PathSample(*sample)


@pytest.mark.parametrize("subset_simulation_weight", [0.0, 0.3])
@pytest.mark.parametrize("path_weight", [0.0, 5.0])
def test_terms_on_parts_weigh_what_they_are_told(
    subset_simulation_weight: float, path_weight: float
) -> None:
    config = ObjectiveConfig(
        masked_weight=0.0,
        subset_weight=0.0,
        subset_simulation_weight=subset_simulation_weight,
        path_weight=path_weight,
    )
    masked, path = on_parts()
    terms = joint_objective(output(), LABELS, config, masked, path)
    paper = joint_objective(output(), LABELS, config)
    weights = {"subset_simulation": subset_simulation_weight, "path": path_weight}
    assert terms.keys() - paper.keys() == {name for name, weight in weights.items() if weight}
    assert masked.partial_logits is not None
    expected = paper["loss"].item()
    expected += subset_simulation_weight * twin.simulation(masked.logits, masked.partial_logits, 3)
    expected += path_weight * twin.path_simulation(path.contributions, path.gradient)
    assert terms["loss"].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weight", "share"),
    [
        ("subset_weight", "masked_share"),
        ("subset_simulation_weight", "masked_share"),
        ("path_weight", "path_share"),
    ],
)
def test_a_term_on_part_of_the_batch_asks_the_interpreter_where_it_has_a_part(
    weight: str, share: str
) -> None:
    plain: dict[str, Any] = {"simulation_weight": 0.0, "alignment_weight": 0.0}
    plain |= {"subset_weight": 0.0, "subset_simulation_weight": 0.0, "path_weight": 0.0}
    assert not asks_interpreter(ObjectiveConfig(**plain))
    assert asks_interpreter(ObjectiveConfig(**plain | {weight: 1.0}))
    assert not asks_interpreter(ObjectiveConfig(**plain | {weight: 1.0, share: 0.0}))
