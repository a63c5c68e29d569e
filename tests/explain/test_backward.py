"""Explainers that go backward through the blocks: attention gradients and relevance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.explain import EXPLAINERS
from iavit.explain.attention_gradient import map_gradients
from iavit.explain.lrp import Relevance
from iavit.explain.recording import record, target_logits
from iavit.explain.relevance import relevance_of_maps
from iavit.model.extractor import Extractor
from tests.explain.models import GRID, PREFIX, TARGETS, images, of_family, plain
from tests.reference import explain_backward as twin

TWINS: dict[str, Callable[[Any, Tensor, int], Tensor]] = {
    "attgrads": twin.attgrads,
    "attcam": twin.attcam,
    "generic_attention": twin.generic_attention,
    "transformer_attribution": twin.transformer_attribution,
    "partial_lrp": twin.partial_lrp,
}


@pytest.fixture(scope="module")
def vit() -> VisionTransformer:
    return plain()


@pytest.mark.parametrize("name", TWINS)
def test_equals_the_twin(vit: VisionTransformer, name: str) -> None:
    maps = EXPLAINERS[name](vit, images(), TARGETS).maps
    for image, target, found in zip(images(), TARGETS.tolist(), maps, strict=True):
        expected = TWINS[name](vit, image, target)[PREFIX:].unflatten(0, GRID)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_grad_cam_equals_the_twin(vit: VisionTransformer) -> None:
    maps = EXPLAINERS["grad_cam"](vit, images(), TARGETS).maps
    for image, target, found in zip(images(), TARGETS.tolist(), maps, strict=True):
        torch.testing.assert_close(found.flatten(), twin.grad_cam(vit, image, target, PREFIX))
    assert (maps > 0).any()


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


def test_under_the_rules_the_model_says_what_it_says(vit: VisionTransformer) -> None:
    with Relevance() as mode:
        logits = record(Extractor(vit), images())[1]
    torch.testing.assert_close(logits.detach(), vit(images()))
    maps = Extractor(vit).attention_maps(images())
    for found, expected in zip(mode.maps, maps, strict=True):
        torch.testing.assert_close(found.detach(), expected)


def test_a_step_without_a_rule_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(x)

    vit = plain()
    vit.blocks[1].mlp.act = Sine()
    for name in ("transformer_attribution", "partial_lrp"):
        with pytest.raises(UserError, match=r"no rule for torch\.sin, which") as error:
            EXPLAINERS[name](vit, images(), TARGETS)
        assert "\n" not in str(error.value)
    assert not torch.overrides._get_current_function_mode_stack()


def relevance_after(compute: Callable[..., Tensor], *inputs: Tensor, given: Tensor) -> list[Tensor]:
    leaves = [one.clone().requires_grad_() for one in inputs]
    with Relevance():
        result = compute(*leaves)
    return list(torch.autograd.grad(result, leaves, given))


def test_rules_by_hand() -> None:
    given = torch.tensor([[1.0]])
    x, weight = torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([[3.0, -1.0, -2.0]])
    linear = nn.functional.linear
    # Positive terms: 1 * 3 and -1 * -2; the bias has no part.
    (found,) = relevance_after(lambda x: linear(x, weight, torch.ones(1)), x, given=given)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.0, 0.4]]))
    # 2 + 6: a quarter and three quarters.
    both = relevance_after(torch.Tensor.add, 2 * given, 6 * given, given=given)
    assert [float(one) for one in both] == [0.25, 0.75]
    # 6 - 4 = 2: shares of 3 and -2 become 3/5 and 2/5 of the whole.
    both = relevance_after(torch.Tensor.add, 6 * given, -4 * given, given=given)
    torch.testing.assert_close(torch.cat(both), torch.tensor([[0.6], [0.4]]))
    # 1 * 2 + 3 * 4 = 14, and half to either factor.
    a, b = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0], [4.0]])
    first, second = relevance_after(torch.matmul, a, b, given=given)
    torch.testing.assert_close(first, torch.tensor([[1 / 14, 6 / 14]]))
    torch.testing.assert_close(second, torch.tensor([[1 / 14], [6 / 14]]))
    (found,) = relevance_after(lambda x: x.mean(dim=1), torch.tensor([[1.0, 3.0]]), given=given[0])
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.75]]))
    (found,) = relevance_after(lambda x: nn.functional.gelu(x), -given, given=given)
    assert float(found) == 1


def test_gradients_of_maps_are_those_of_an_unfused_pass(vit: VisionTransformer) -> None:
    recording, logits = record(Extractor(vit), images())
    found = map_gradients(recording, target_logits(logits, TARGETS))
    for number, (image, target) in enumerate(zip(images(), TARGETS.tolist(), strict=True)):
        run = twin.forward(vit, image)
        maps = [layer.attention for layer in run.layers]
        for layer, expected in zip(found, twin.gradients(run, target, maps), strict=True):
            torch.testing.assert_close(layer[number], expected)
