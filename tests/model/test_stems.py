"""Where the blocks begin, against what timm's own forward hands to its first block."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from docs.families import FAMILIES, Family, small
from torch import Tensor

from iavit.model.stems import STEMS
from tests.model.test_families import images

OF_EACH_CLASS = list({type(small(family)): family for family in FAMILIES}.values())


def test_every_class_has_a_family() -> None:
    assert {type(small(family)) for family in OF_EACH_CLASS} == set(STEMS)


@pytest.mark.parametrize("family", OF_EACH_CLASS, ids=lambda family: family.name)
def test_the_first_block_is_given_the_same_tokens_and_position(family: Family) -> None:
    vit = small(family)
    given: list[tuple[Tensor, Any]] = []

    def keep(_block: Any, inputs: tuple[Tensor, ...], named: dict[str, Any]) -> None:
        given.append((inputs[0], next((value for value in named.values()), None)))

    for block in vit.blocks:
        block.register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        vit(images(vit))
        tokens, positions = STEMS[type(vit)](vit, images(vit))
    torch.testing.assert_close(tokens, given[0][0])
    for position, (_, expected) in zip(islice(positions, len(given)), given, strict=True):
        torch.testing.assert_close(position, expected)
