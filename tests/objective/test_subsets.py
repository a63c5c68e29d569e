from __future__ import annotations

import torch

from iavit.objective.subsets import partial_logits
from tests.reference import objective as twin


def test_partial_sums_by_hand() -> None:
    contributions = torch.tensor([[[1.0, -1.0], [2.0, 0.0], [4.0, 8.0]]]).expand(2, 3, 2)
    bias = torch.tensor([10.0, 20.0])
    visible = torch.tensor([[True, False, True], [False, False, False]])
    found = partial_logits(contributions, bias, visible)
    assert found.tolist() == [[15.0, 27.0], [10.0, 20.0]]
    several = partial_logits(contributions, bias, visible.expand(2, 2, 3))
    assert several.tolist() == [found.tolist()] * 2


def test_equal_to_the_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    contributions = torch.randn(7, 5, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(3, generator=generator, dtype=torch.float64)
    visible = torch.rand(7, 5, generator=generator) < 0.5
    expected = twin.partial_logits(contributions, bias, visible)
    torch.testing.assert_close(partial_logits(contributions, bias, visible), expected)
