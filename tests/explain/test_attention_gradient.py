"""Attention times its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from iavit.explain import EXPLAINERS
from iavit.explain.attention_gradient import map_gradients
from iavit.explain.recording import record, target_logits
from iavit.model.extractor import Extractor
from tests.explain.models import GRID, PREFIX, TARGETS, images, plain
from tests.reference import explain_backward as twin

TWINS: dict[str, Callable[[Any, Tensor, int], Tensor]] = {
    "attgrads": twin.attgrads,
    "attcam": twin.attcam,
    "generic_attention": twin.generic_attention,
}


@pytest.fixture(scope="module")
def vit() -> VisionTransformer:
    return plain()


def test_attgrads_uses_the_gradient(vit: VisionTransformer) -> None:
    """Not the attention alone, as in the authors' notebooks, which no target could change."""
    here = EXPLAINERS["attgrads"](vit, images(), TARGETS).maps
    there = EXPLAINERS["attgrads"](vit, images(), (TARGETS + 1) % 5).maps
    assert not torch.allclose(here, there, rtol=0.1)
    assert (here < 0).any()
    with torch.no_grad():
        vit_double = plain()
        vit_double.head.weight *= 2  # attention as before, gradients twice as large
    torch.testing.assert_close(EXPLAINERS["attgrads"](vit_double, images(), TARGETS).maps, 2 * here)


def test_gradients_of_maps_are_those_of_an_unfused_pass(vit: VisionTransformer) -> None:
    recording, logits = record(Extractor(vit), images())
    found = map_gradients(recording, target_logits(logits, TARGETS))
    for number, (image, target) in enumerate(zip(images(), TARGETS.tolist(), strict=True)):
        run = twin.forward(vit, image)
        maps = [layer.attention for layer in run.layers]
        for layer, expected in zip(found, twin.gradients(run, target, maps), strict=True):
            torch.testing.assert_close(layer[number], expected)


@pytest.mark.parametrize("name", TWINS)
def test_equals_the_twin(vit: VisionTransformer, name: str) -> None:
    explanation = EXPLAINERS[name](vit, images(), TARGETS)
    assert explanation.signed is (name != "generic_attention")
    for image, target, found in zip(images(), TARGETS.tolist(), explanation.maps, strict=True):
        expected = TWINS[name](vit, image, target)[PREFIX:].unflatten(0, GRID)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
