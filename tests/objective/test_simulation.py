"""Simulation by itself: its value, its factor, and where it is at rest."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iavit.config import RECIPES
from iavit.objective.inputs import Inputs
from iavit.objective.simulation import simulation, simulation_term
from tests.objective.outputs import outputs, reached
from tests.reference import objective as twin

BATCH, CLASSES = 5, 3


def logits(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 4 * torch.randn(BATCH, CLASSES, generator=generator, dtype=torch.float64)


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


@pytest.mark.parametrize("teacher_gradient", [False, True])
def test_the_term_has_its_temperature_and_reaches_the_teacher_only_where_asked(
    teacher_gradient: bool,
) -> None:
    output = outputs()
    config = replace(RECIPES["paper"], teacher_gradient=teacher_gradient, temperature=1.7)
    term = simulation_term(Inputs(output, None), config)
    assert term.item() == pytest.approx(
        twin.simulation(output.logits, output.interpreter_logits, 1.7)
    )
    expected = {"interpreter_logits"} | ({"logits"} if teacher_gradient else set())
    assert reached(term, output) == expected
