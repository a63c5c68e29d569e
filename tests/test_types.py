"""The vocabulary: what moves with a batch."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from iavit.types import UNLABELLED, Batch, Explanation, Output


def test_everything_a_batch_has_moves_to_the_device() -> None:
    mask = torch.ones(2, 4, 5, dtype=torch.bool)
    batch = Batch(torch.zeros(2, 3, 4, 5), torch.tensor([1, 0]), torch.tensor([0, 1]), mask, mask)
    moved = batch.to("meta")
    assert len(moved) == len(batch) == 2
    assert moved.images.device.type == moved.labels.device.type == "meta"
    assert moved.groups is not None
    assert moved.evidence is not None
    assert moved.groups.device.type == moved.evidence.device.type == "meta"
    assert moved.shortcut is not None
    assert moved.shortcut.device.type == "meta"
    bare = Batch(torch.zeros(3, 3, 4, 5), torch.zeros(3)).to("meta")
    assert (bare.groups, bare.evidence, bare.shortcut, bare.left_out) == (None, None, None, ())
    assert len(bare) == 3


def test_files_that_were_left_out_stay_named() -> None:
    batch = Batch(torch.zeros(1, 3, 2, 2), torch.zeros(1, dtype=torch.long), left_out=("a.png",))
    assert batch.to("cpu").left_out == ("a.png",)


@pytest.mark.parametrize("kind", [Batch, Output, Explanation])
def test_what_was_handed_on_is_not_changed(kind: type) -> None:
    """A later reader has what an earlier one had."""
    made = kind(*[torch.zeros(2)] * len(fields(kind)))
    with pytest.raises(FrozenInstanceError):
        setattr(made, fields(kind)[0].name, None)


def test_a_map_is_unsigned_unless_it_says_so_and_minus_one_is_no_label() -> None:
    assert Explanation(torch.zeros(1, 2, 3), torch.zeros(1), "rise").signed is False
    assert UNLABELLED == -1
