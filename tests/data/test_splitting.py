from __future__ import annotations

import numpy as np
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


def test_a_division_is_the_one_that_it_was() -> None:
    """Of each class the first of the seed's permutation are held out."""
    labels = torch.arange(53) % 4 % 3
    order = np.random.default_rng(6).permutation(53).tolist()
    expected: list[int] = []
    for label in range(3):
        members = [index for index in order if labels[index] == label]
        expected += members[: round(0.3 * len(members))]
    assert hold_out(labels, 0.3, 6, "it")[1].tolist() == sorted(expected)


def test_copies_of_a_picture_stay_together() -> None:
    labels = torch.tensor([0] * 12 + [1] * 8)
    pictures = torch.tensor([7, 7, 7, 1, 2, 3, 4, 5, 6, 8, 9, 7, *range(10, 16), 16, 16])
    splits = [hold_out(labels, 0.4, seed, "it", pictures) for seed in range(20)]
    for kept, held in splits:
        assert sorted([*kept.tolist(), *held.tolist()]) == list(range(20))
        assert not set(pictures[kept].tolist()) & set(pictures[held].tolist())
        assert len(pictures[held].unique()) == round(0.4 * 9) + round(0.4 * 7)  # of pictures
    assert {0 in held.tolist() for _, held in splits} == {True, False}


def test_without_copies_a_split_is_what_it_was() -> None:
    labels = torch.arange(30) % 3
    plain, numbered = (hold_out(labels, 0.2, 4, "it", p) for p in (None, torch.arange(30)))
    assert torch.equal(plain[1], numbered[1])


def test_single_images_cannot_be_split() -> None:
    with pytest.raises(UserError, match="it has too few"):
        hold_out(torch.arange(5), 0.5, 0, "it")
