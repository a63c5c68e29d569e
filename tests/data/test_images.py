"""What every data set becomes, and what a source is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.transforms import v2

from iavit.config import DataConfig
from iavit.data.augment import Draw
from iavit.data.images import InMemory, Request, Splits
from iavit.data.transforms import Normalisation
from iavit.errors import UserError


def in_memory(count: int = 5) -> InMemory:
    """Image number i of one grey, i, of label i, with one pixel of evidence in row i."""
    pixels = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 7, 7)
    evidence = torch.zeros(count, 7, 7, dtype=torch.bool)
    evidence[range(count), range(count), 2] = True
    return InMemory(
        pixels, torch.arange(count), Normalisation(), evidence, groups=torch.arange(count) % 2
    )


def test_images_come_in_the_order_that_is_asked_for() -> None:
    batch = in_memory()[[4, 0, 2]]
    assert batch.labels.tolist() == [4, 0, 2]
    assert Normalisation().restore(batch.images)[:, 1, 3, 5].tolist() == [4, 0, 2]
    assert batch.groups is not None
    assert batch.groups.tolist() == [0, 0, 0]
    assert batch.evidence is not None
    assert batch.evidence.nonzero().tolist() == [[0, 4, 2], [1, 0, 2], [2, 2, 2]]


def test_chosen_images_are_a_set_of_their_own() -> None:
    fewer = in_memory().chosen(torch.tensor([3, 1]))
    assert len(fewer) == 2
    batch = fewer[[0, 1]]
    assert batch.labels.tolist() == [3, 1]
    assert batch.evidence is not None
    assert batch.evidence.nonzero().tolist() == [[0, 3, 2], [1, 1, 2]]
    assert batch.groups is not None
    assert batch.groups.tolist() == [1, 1]


def test_another_size_is_made_bicubically_and_the_own_one_left_alone() -> None:
    pixels = torch.randint(256, (3, 3, 7, 7), dtype=torch.uint8)
    asked = InMemory(pixels, torch.arange(3), Normalisation(), size=5)
    bicubic = v2.InterpolationMode.BICUBIC
    expected = v2.functional.resize(pixels[[2, 0]], [5, 5], bicubic)
    assert torch.equal(asked[[2, 0]].images, Normalisation().normalise(expected))
    same = replace(asked, size=7)[Draw([2, 0], 3)].images  # no augmentation, so no view
    assert torch.equal(same, Normalisation().normalise(pixels[[2, 0]]))


def test_a_split_is_read_once_and_only_when_it_is_asked_for() -> None:
    read: list[str] = []

    def images(split: str) -> InMemory:
        read.append(split)
        return in_memory()

    splits = Splits(("a", "b"), Normalisation(), images)
    assert read == []
    assert splits.val is splits.val
    assert read == ["val"]


@pytest.mark.parametrize(
    ("asked", "default", "expected"), [(32, 28, 32), (None, 28, 28), (None, None, 224)]
)
def test_whose_size_an_image_has(asked: int | None, default: int | None, expected: int) -> None:
    assert Request(size=asked).image_size(default) == expected


def test_a_request_without_a_root_says_which_set_needs_one() -> None:
    assert Request(DataConfig(root="there")).root == Path("there")
    with pytest.raises(UserError, match="`root`: say where celeba lies"):
        _ = Request(DataConfig("celeba")).root
