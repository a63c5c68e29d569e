from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from iavit.objective.simulation import simulation
from iavit.objective.subsets import (
    evidence_share,
    partial_logits,
    subset_attention,
    subset_simulation,
)
from tests.reference import objective as twin

# Logits of which the first class has probability 9/10, 1/2 and 1/10.
SURE, HALF, UNSURE = (math.log(9), 0.0), (0.0, 0.0), (-math.log(9), 0.0)


def test_by_hand() -> None:
    attention = torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]])
    visible = torch.tensor([[True, False, True], [False, True, False]])
    logits = torch.tensor([SURE, SURE])
    part = torch.tensor([SURE, HALF])
    # Shares 1 and 0, as 1/2 is what a guess gets of two classes; 0.7 and 0.3 are seen.
    assert float(subset_attention(attention, visible, logits, part)) == pytest.approx(0.09)


def test_equal_to_the_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(7, 5, generator=generator, dtype=torch.float64).softmax(dim=-1)
    visible = torch.rand(7, 5, generator=generator) < 0.5
    logits = 2 * torch.randn(7, 3, generator=generator, dtype=torch.float64)
    part = 2 * torch.randn(7, 3, generator=generator, dtype=torch.float64)
    found = float(subset_attention(attention, visible, logits, part))
    assert found == pytest.approx(twin.subset_attention(attention, visible, logits, part))


def test_the_whole_carries_everything_and_a_guess_nothing() -> None:
    logits = torch.tensor([SURE, (2.0, -1.0)])
    assert evidence_share(logits, logits).tolist() == [1.0, 1.0]
    assert evidence_share(logits, torch.zeros(2, 2)).tolist() == [0.0, 0.0]
    assert evidence_share(logits, torch.tensor([UNSURE, UNSURE])).tolist() == [0.0, 0.0]


def test_only_the_attention_is_moved() -> None:
    attention = torch.full((2, 4), 0.25, requires_grad=True)
    logits = torch.randn(2, 3, requires_grad=True)
    part = torch.randn(2, 3, requires_grad=True)
    visible = torch.tensor([[True, False, False, False], [True, True, True, False]])
    subset_attention(attention, visible, logits, part).backward()
    assert attention.grad is not None
    assert logits.grad is None
    assert part.grad is None


def test_gradcheck() -> None:
    attention = torch.rand(3, 4, dtype=torch.float64).softmax(dim=-1).requires_grad_()
    visible = torch.rand(3, 4) < 0.5
    logits, part = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a: subset_attention(a, visible, logits, part), (attention,)
    )


def test_of_an_additive_predictor_the_attention_becomes_the_exact_shares() -> None:
    """A game that adds up has its own terms as Shapley values; they are what is learned."""
    shares = torch.tensor([0.4, 0.05, 0.25, 0.3, 0.0])
    scores = torch.zeros(5, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.05)
    whole = torch.tensor([20.0, 0.0])

    def answer(visible: Tensor) -> Tensor:
        """Logits with probability 1/2 + 1/2 of the visible shares for the first class."""
        probability = (0.5 + 0.5 * visible.float() @ shares).clamp_max(1 - 1e-6)
        return torch.stack([probability.log(), (1 - probability).log()], dim=1)

    for _ in range(1500):
        visible = torch.rand(64, 5) < torch.rand(64, 1)
        attention = scores.softmax(dim=0).expand(64, 5)
        optimizer.zero_grad()
        subset_attention(attention, visible, whole.expand(64, 2), answer(visible)).backward()
        optimizer.step()
    torch.testing.assert_close(scores.softmax(dim=0).detach(), shares, atol=0.01, rtol=0)


def test_partial_sums_by_hand() -> None:
    contributions = torch.tensor([[[1.0, -1.0], [2.0, 0.0], [4.0, 8.0]]]).expand(2, 3, 2)
    bias = torch.tensor([10.0, 20.0])
    visible = torch.tensor([[True, False, True], [False, False, False]])
    found = partial_logits(contributions, bias, visible)
    assert found.tolist() == [[15.0, 27.0], [10.0, 20.0]]
    several = partial_logits(contributions, bias, visible.expand(2, 2, 3))
    assert several.tolist() == [found.tolist()] * 2


def test_subset_simulation_by_hand() -> None:
    # At T = 2 the teacher says (3/4, 1/4) of what is visible, and the partial sum (1/2, 1/2).
    contributions = torch.tensor([[[5.0, 1.0], [0.0, 99.0]]], dtype=torch.float64)
    partial = partial_logits(
        contributions, torch.tensor([0.0, 4.0]).double(), torch.tensor([[True, False]])
    )
    teacher = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64)
    divergence = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    assert subset_simulation(partial, teacher, 2.0).item() == pytest.approx(4 * divergence)


def test_subset_simulation_equals_the_twin() -> None:
    contributions = torch.randn(7, 5, 3, dtype=torch.float64)
    bias, visible = torch.randn(3, dtype=torch.float64), torch.rand(7, 5) < 0.5
    teacher = 2 * torch.randn(7, 3, dtype=torch.float64)
    partial = partial_logits(contributions, bias, visible)
    expected = twin.partial_logits(contributions, bias, visible)
    torch.testing.assert_close(partial, expected)
    found = subset_simulation(partial, teacher, 3.0).item()
    assert found == pytest.approx(twin.simulation(teacher, expected, 3.0))


def test_with_everything_visible_it_is_the_simulation_term() -> None:
    contributions, bias = torch.randn(7, 5, 3), torch.randn(3)
    teacher = torch.randn(7, 3)
    partial = partial_logits(contributions, bias, torch.ones(7, 5, dtype=torch.bool))
    expected = simulation(teacher, contributions.sum(dim=1) + bias, 3.0)
    torch.testing.assert_close(subset_simulation(partial, teacher, 3.0), expected)


def test_subset_simulation_moves_no_teacher_and_no_hidden_patch() -> None:
    contributions, bias = torch.randn(1, 3, 2, requires_grad=True), torch.zeros(2)
    teacher = torch.randn(1, 2, requires_grad=True)
    partial = partial_logits(contributions, bias, torch.tensor([[True, False, True]]))
    subset_simulation(partial, teacher, 1.0).backward()
    assert teacher.grad is None
    assert contributions.grad is not None
    assert contributions.grad.any(dim=2).tolist() == [[True, False, True]]


def test_subset_simulation_gradcheck() -> None:
    contributions = torch.randn(3, 5, 2, dtype=torch.float64, requires_grad=True)
    bias, visible = torch.randn(2, dtype=torch.float64, requires_grad=True), torch.rand(3, 5) < 0.5
    teacher = torch.randn(3, 2, dtype=torch.float64)

    def term(contributions: Tensor, bias: Tensor) -> Tensor:
        return subset_simulation(partial_logits(contributions, bias, visible), teacher, 3.0)

    assert torch.autograd.gradcheck(term, (contributions, bias))


def test_of_an_additive_predictor_the_contributions_become_its_shapley_values() -> None:
    """Trained by gradient alone on random subsets; a softmax leaves each patch's mean free."""
    patches, classes = 5, 3
    adds = torch.randn(patches, classes)
    empty = torch.randn(classes)
    contributions = torch.zeros(patches, classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.Adam([contributions, bias], lr=0.05)
    for _ in range(400):
        visible = torch.rand(64, patches) < torch.rand(64, 1)
        teacher = empty + visible.float() @ adds
        partial = partial_logits(contributions.expand(64, -1, -1), bias, visible)
        optimizer.zero_grad()
        subset_simulation(partial, teacher, 3.0).backward()
        optimizer.step()

    def game(label: int) -> list[float]:
        def answer(visible: frozenset[int]) -> float:
            logits = empty + sum((adds[k] for k in visible), start=torch.zeros(classes))
            return float(logits[label] - logits.mean())

        return twin.shapley(answer, patches)

    expected = torch.tensor([game(label) for label in range(classes)]).T  # (N, C)
    found = contributions.detach() - contributions.detach().mean(dim=1, keepdim=True)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)
