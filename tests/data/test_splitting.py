from __future__ import annotations

import pytest
import torch

from iavit.data.splitting import hold_out
from iavit.errors import UserError


def test_every_class_gives_its_share() -> None:
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 3 + [3])
    kept, held = hold_out(labels[torch.randperm(74)], 0.2, 0, "it")
    assert sorted(torch.cat([kept, held]).tolist()) == list(range(74))
    assert torch.equal(held, held.sort().values)


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 1), (3, 1), (20, 4), (50, 10)])
def test_how_many_of_a_class(count: int, expected: int) -> None:
    labels = torch.cat([torch.zeros(count), torch.ones(10)]).long()
    _, held = hold_out(labels, 0.2, 3, "it")
    assert int((labels[held] == 0).sum()) == expected


def test_a_share_of_all_but_one_leaves_one() -> None:
    kept, _ = hold_out(torch.tensor([0, 0, 1, 1]), 0.99, 0, "it")
    assert len(kept) == 2


def test_the_seed_decides() -> None:
    labels = torch.arange(100) % 3
    one, again, other = (hold_out(labels, 0.1, seed, "it")[1] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_single_images_cannot_be_split() -> None:
    with pytest.raises(UserError, match="it has too few"):
        hold_out(torch.arange(5), 0.5, 0, "it")
