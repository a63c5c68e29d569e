"""Relevance of attention maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from iavit.explain import EXPLAINERS
from iavit.explain.recording import record
from iavit.explain.relevance import relevance_of_maps, transformer_attribution
from iavit.model.extractor import Extractor
from tests.explain.models import GRID, PREFIX, TARGETS, images, of_family, plain
from tests.reference import explain_backward as twin

TWINS: dict[str, Callable[[Any, Tensor, int], Tensor]] = {
    "transformer_attribution": twin.transformer_attribution,
    "partial_lrp": twin.partial_lrp,
}


@pytest.fixture(scope="module")
def vit() -> VisionTransformer:
    return plain()


RELEVANT = [
    "vit_small_patch16_224",
    "deit_small_distilled_patch16_224",
    "vit_medium_patch16_reg4_gap_256",
    "vit_base_patch16_siglip_224",
    "vit_base_patch16_clip_quickgelu_224",
    "vit_small_patch14_reg4_dinov2",
    "eva02_small_patch14_224",
    "beit_base_patch16_224",
    "vit_srelpos_small_patch16_224",
    "vit_base_patch16_rpn_224",
    "vit_base_patch16_xp_224",
    "vit_small_patch16_18x2_224",
]


@pytest.mark.parametrize("family", RELEVANT)
def test_relevance_is_neither_lost_nor_made(family: str) -> None:
    """What enters the first block has, together, the relevance 1 of the logit.

    Of 36 terms one is positive almost surely; of 12 sometimes none is, and a share is lost.
    """
    model = of_family(family, width=36).requires_grad_()
    extractor = Extractor(model)
    maps, of_tokens = relevance_of_maps(extractor, images(size=(48, 32)), TARGETS)
    torch.testing.assert_close(of_tokens.sum(dim=(1, 2)), torch.ones(3, dtype=torch.float64))
    assert len(maps) == len(record(extractor, images(size=(48, 32)))[0].attentions)
    assert all(one.any() for one in maps)


@pytest.mark.parametrize("name", TWINS)
def test_equals_the_twin(vit: VisionTransformer, name: str) -> None:
    maps = EXPLAINERS[name](vit, images(), TARGETS).maps
    for image, target, found in zip(images(), TARGETS.tolist(), maps, strict=True):
        expected = TWINS[name](vit, image, target)[PREFIX:].unflatten(0, GRID)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_the_first_layer_may_be_left_out(vit: VisionTransformer) -> None:
    maps = transformer_attribution(vit, images(), TARGETS, first_layer=1).maps
    for image, target, found in zip(images(), TARGETS.tolist(), maps, strict=True):
        expected = twin.transformer_attribution(vit, image, target, first=1)[PREFIX:]
        torch.testing.assert_close(found, expected.unflatten(0, GRID), rtol=1e-6, atol=1e-9)
