"""Patches left out of the sequence, in every family, against attention that cannot see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
import torch
from docs.families import FAMILIES, Family, small
from torch import Tensor
from torch.nn import functional as F

from iavit.errors import UserError
from iavit.model.extractor import Extractor
from iavit.model.stems import STEMS
from tests.model.test_families import families, images

KEPT = torch.tensor([[4, 1, 3], [0, 5, 2]])  # of six, in any order


def blind_to(dropped: Tensor) -> Callable[..., Tensor]:
    """A fused attention to whose softmax the dropped keys (B, T) bool do not exist."""
    fused = F.scaled_dot_product_attention

    def attention(q: Tensor, k: Tensor, v: Tensor, attn_mask: Any = None, **also: Any) -> Tensor:
        hidden = torch.zeros(len(q), 1, 1, k.shape[2], dtype=q.dtype)
        hidden.masked_fill_(dropped[:, None, None], float("-inf"))
        return fused(q, k, v, attn_mask=hidden if attn_mask is None else hidden + attn_mask, **also)

    return attention


def tokens_deleted_by_hand(extractor: Extractor, pictures: Tensor, kept: Tensor) -> Tensor:
    """timm's own forward with attention blind to the other patches, their tokens cut out after."""
    prefix, patches = extractor.prefix, extractor.grid[0] * extractor.grid[1]
    dropped = torch.ones(len(kept), prefix + patches, dtype=torch.bool)
    dropped[:, :prefix] = False
    for row, patches_kept in zip(dropped, kept, strict=True):
        row[patches_kept + prefix] = False
    with patch.object(F, "scaled_dot_product_attention", blind_to(dropped)):
        tokens = extractor.backbone.forward_features(pictures)
    rows = []
    for i, patches_kept in enumerate(kept):
        rows.append(torch.cat((tokens[i, :prefix], tokens[i, patches_kept + prefix])))
    return torch.stack(rows)


def test_every_stem_is_among_the_families() -> None:
    assert {type(small(family)) for family in FAMILIES} == set(STEMS)


@families
def test_what_is_left_answers_as_if_nothing_else_existed(family: Family) -> None:
    vit = small(family).double()
    extractor, pictures = Extractor(vit), images(vit).double()
    with torch.no_grad():
        found = extractor.walk(extractor.only(extractor.embed(pictures), KEPT))
        expected = tokens_deleted_by_hand(extractor, pictures, KEPT)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        predicted = extractor.predict(found)
        assert (predicted - vit(pictures)).abs().max() > 1e-3  # or the test would say nothing
        every = torch.arange(6).expand(2, -1)
        whole = extractor.walk(extractor.only(extractor.embed(pictures), every))
        torch.testing.assert_close(extractor.predict(whole), vit(pictures), rtol=0, atol=1e-10)


@families
def test_nothing_left_is_answered_where_the_head_reads_more_than_patches(family: Family) -> None:
    vit = small(family).double()
    extractor, none = Extractor(vit), torch.empty(2, 0, dtype=torch.long)
    with torch.no_grad():
        embedded = extractor.embed(images(vit).double())
        try:
            logits = extractor.predict(extractor.walk(extractor.only(embedded, none)))
        except UserError as refusal:
            assert "\n" not in str(refusal)  # noqa: PT017
            assert vit.global_pool != "token"
            with torch.no_grad(), pytest.raises((UserError, RuntimeError, IndexError)):
                extractor.only(embedded, none)
        else:
            assert logits.isfinite().all()
            torch.testing.assert_close(logits[0], logits[1])  # no image is left in it
