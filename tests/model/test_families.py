"""Every family of vision transformers in timm: a small random one of each, walked and trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from docs.families import CLASSES, FAMILIES, GRID, PAGE, Family, small, with_table
from torch import Tensor, nn

from iavit.config import RECIPES
from iavit.model.extractor import Backbone, Extractor
from iavit.model.iavit import Architecture, IAViT
from iavit.model.interpreter import Interpreter
from iavit.objective.step import objective_terms
from tests.reference.attention import mean_received

families = pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])


def images(vit: Backbone, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, *vit.patch_embed.img_size, generator=generator)


def eager_maps(vit: Backbone, pictures: Tensor) -> list[Tensor]:
    """Every attention map as timm's own unfused forward computes it."""
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        maps.append(output.detach())

    layers = [part for part in vit.blocks.modules() if hasattr(part, "attn_drop")]
    handles = [layer.attn_drop.register_forward_hook(keep) for layer in layers]
    for layer in layers:
        layer.fused_attn = False
    vit(pictures)
    for layer, handle in zip(layers, handles, strict=True):
        handle.remove()
        layer.fused_attn = True
    return maps


def joined(vit: Backbone) -> IAViT:
    interpreter = Interpreter(vit.embed_dim, GRID[0] * GRID[1], CLASSES)
    architecture = Architecture("small", CLASSES, vit.patch_embed.img_size)
    return IAViT(Extractor(vit), interpreter, architecture)


@families
def test_predictor_is_timms_own(family: Family) -> None:
    vit = small(family)
    extractor = Extractor(vit)
    with torch.no_grad():
        tokens = extractor(images(vit)).tokens
        torch.testing.assert_close(extractor.predict(tokens), vit(images(vit)), rtol=0, atol=1e-5)


@families
def test_attention_received_is_that_of_eager_softmax(family: Family) -> None:
    vit = small(family).double()
    pictures = images(vit).double()
    with torch.no_grad():
        received = Extractor(vit)(pictures).attention
        maps = Extractor(vit).attention_maps(pictures)
        eager = eager_maps(vit, pictures)
        expected = mean_received(eager, vit.num_prefix_tokens)
    torch.testing.assert_close(maps, eager, rtol=0, atol=1e-12)
    torch.testing.assert_close(received, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(received.sum(dim=1), torch.ones(2, dtype=torch.float64))
    assert (received.std(dim=1) > 1e-4).all()  # far from uniform, or the test would say nothing


@families
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_timms_own(family: Family, checkpointing: bool) -> None:
    vit = small(family).double()
    wanted = list(vit.parameters())
    pictures = images(vit).double()
    expected = torch.autograd.grad(vit(pictures).square().sum(), wanted, allow_unused=True)
    vit.set_grad_checkpointing(checkpointing)
    extractor = Extractor(vit)
    logits = extractor.predict(extractor(pictures).tokens)
    ours = torch.autograd.grad(logits.square().sum(), wanted, allow_unused=True)
    for our, their in zip(ours, expected, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-6, atol=1e-9)


@families
def test_a_training_step_changes_every_parameter(family: Family) -> None:
    model = joined(small(family)).train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)
    pictures = images(model.extractor.backbone, 4)
    terms = objective_terms(model, pictures, torch.arange(4), RECIPES["paper"], 1.0)
    terms["loss"].backward()
    optimizer.step()
    same = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    assert not same


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # of torch, on the speed of RMS norms
@families
def test_mixed_precision_trains_the_attention_too(family: Family) -> None:
    vit = small(family).train()
    extractor = Extractor(vit)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        extracted = extractor(images(vit), attention="gradient")
        received = extracted.attention
        loss = extractor.predict(extracted.tokens).float().square().sum() + received.square().sum()
    loss.backward()
    assert received.dtype is torch.float32
    assert all(p.grad is None or p.grad.isfinite().all() for p in vit.parameters())


def test_the_page_says_what_the_families_are_like() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("\n| ") > len(FAMILIES)
    assert with_table(page) == page
