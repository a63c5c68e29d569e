from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from iavit.objective.subsets import (
    evidence_share,
    partial_logits,
    subset_attention,
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
