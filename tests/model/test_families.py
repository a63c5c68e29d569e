"""Every family of vision transformers in timm: a small random one of each, walked and trained.

`docs/backbones.md` is what these tests say of each: `IAVIT_WRITE_DOCS=1 pytest` on this file
writes it again.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from iavit.config import RECIPES
from iavit.model.extractor import Backbone, Extractor
from iavit.model.iavit import Architecture, IAViT
from iavit.model.interpreter import Interpreter
from iavit.objective.step import objective_terms
from tests.reference.attention import mean_received

CLASSES, GRID = 5, (3, 2)  # h and w differ, so that they cannot change places
PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"


@dataclass(frozen=True)
class Family:
    """A timm name that stands for others, and what is changed to make it small."""

    title: str
    name: str
    patch: int = 16
    also: dict[str, Any] = field(default_factory=dict)


FAMILIES = [
    Family("ViT, patches of 32", "vit_small_patch32_224", 32),
    Family("ViT, patches of 16", "vit_small_patch16_224"),
    Family("ViT, patches of 14", "vit_large_patch14_224", 14),
    Family("ViT, patches of 8", "vit_small_patch8_224", 8),
    Family("ViT with average pooling", "vit_base_patch16_gap_224"),
    Family("ViT with registers, average pooling", "vit_medium_patch16_reg4_gap_256"),
    Family("ViT of the shape search (SoViT, attention pooling)", "vit_so150m_patch16_reg4_map_256"),
    Family("ViT on convolutions", "vit_tiny_r_s16_p8_224", 32),
    Family("DeiT", "deit_small_patch16_224"),
    Family("DeiT with distillation token", "deit_small_distilled_patch16_224"),
    Family("DeiT-III", "deit3_small_patch16_224"),
    Family("DINOv2", "vit_small_patch14_dinov2", 14),
    Family("DINOv2 with registers, SwiGLU", "vit_giant_patch14_reg4_dinov2", 14),
    Family("DINOv3", "vit_small_patch16_dinov3"),
    Family("CLIP", "vit_base_patch16_clip_224"),
    Family("CLIP, quick GELU", "vit_base_patch16_clip_quickgelu_224"),
    Family("SigLIP", "vit_base_patch16_siglip_224"),
    Family("SigLIP, average pooling", "vit_base_patch16_siglip_gap_224"),
    Family("Perception Encoder", "vit_pe_core_small_patch16_384"),
    Family("AIMv2", "aimv2_large_patch14_224", 14),
    Family("EVA", "eva_giant_patch14_224", 14),
    Family("EVA-02", "eva02_small_patch14_224", 14),
    Family("EVA-02, fused projection, SwiGLU with norm", "eva02_base_patch14_448", 14),
    Family("RoPE, axial", "vit_small_patch16_rope_224"),
    Family("RoPE, mixed", "vit_small_patch16_rope_mixed_224"),
    Family("RoPE with register, average pooling", "vit_base_patch16_rope_reg1_gap_256"),
    Family("Sapiens 2 (shared keys)", "vit_base_patch16_sapiens2", 16, {"num_kv_heads": (3, 1)}),
    Family("BEiT", "beit_base_patch16_224"),
    Family("BEiT v2", "beitv2_base_patch16_224"),
    Family("ViT with relative positions", "vit_relpos_small_patch16_224"),
    Family("ViT with relative positions, shared", "vit_srelpos_small_patch16_224"),
    Family("Norm after attention", "vit_base_patch16_rpn_224"),
    Family("Parallel attention and MLP", "vit_base_patch16_xp_224"),
    Family("Two attentions side by side", "vit_small_patch16_18x2_224"),
]
families = pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])


def small(family: Family) -> Backbone:
    """Two layers, three heads, 3 x 2 patches; weights far enough from 0 to tell maps apart."""
    vit = timm.create_model(
        family.name,
        img_size=(GRID[0] * family.patch, GRID[1] * family.patch),
        embed_dim=24,
        depth=2,
        num_heads=3,
        num_classes=CLASSES,
        **family.also,
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in vit.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return vit.eval()


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
        tokens, _ = extractor(images(vit))
        torch.testing.assert_close(extractor.predict(tokens), vit(images(vit)), rtol=0, atol=1e-5)


@families
def test_attention_received_is_that_of_eager_softmax(family: Family) -> None:
    vit = small(family).double()
    pictures = images(vit).double()
    with torch.no_grad():
        _, received = Extractor(vit)(pictures)
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
    logits = extractor.predict(extractor(pictures)[0])
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
        tokens, received = extractor(images(vit), attention_gradient=True)
        loss = extractor.predict(tokens).float().square().sum() + received.square().sum()
    loss.backward()
    assert received.dtype is torch.float32
    assert all(p.grad is None or p.grad.isfinite().all() for p in vit.parameters())


def row(family: Family) -> str:
    vit = small(family)
    pools = {"token": "class token", "avg": "mean of patches", "map": "attention pool"}
    reads = pools[vit.global_pool]
    if hasattr(vit, "dist_token"):
        reads = "class and distillation tokens"
    normed = "fc_norm" if isinstance(vit.norm, nn.Identity) else "norm"
    block = type(vit.blocks[0]).__name__
    kind = type(vit).__name__
    return (
        f"| {family.title} | `{family.name}` | `{kind}` of `{block}` | {vit.num_prefix_tokens} "
        f"| {reads} | `{normed}` |"
    )


# ruff: noqa: E501  (the rows of a table)
def page() -> str:
    rows = "\n".join(row(family) for family in FAMILIES)
    return f"""# Backbones

Any vision transformer of timm that keeps one sequence of patch tokens with softmax attention
among all of them. timm's module is used as it is; the predictor is its own pooling and head.

Written by `tests/model/test_families.py`. For each row a small random model of that very
architecture (two layers, a grid of 3 x 2 patches) is built, and it is checked that

- the predictor's logits are those of timm's own forward, to 1e-5, and so are the gradients, with
  and without gradient checkpointing (`backbone.set_grad_checkpointing()`);
- the attention that each patch receives sums to 1 and is that of timm's own unfused softmax, to
  1e-12 in double precision, relative position biases and rotations included;
- one training step changes every parameter.

| family | for example | timm's classes | prefix tokens | the predictor reads | patches are normed by |
|---|---|---|---|---|---|
{rows}

- **Prefix tokens** (class, distillation, register) are left out of the attention received, of the
  interpreter's input and of every map.
- **The interpreter** reads the patch tokens after the final norm. Where a model norms only what it
  has pooled (`fc_norm`), that norm is applied to each patch token.
- **`raw_attention` and `rollout`** start from what the predictor reads: the class token's row; with
  a distillation token, the mean of both rows; with average pooling, the mean over the rows of
  patches; with attention pooling, the pool's own attention.
- **Image size.** `--img-size` (in Python also `(height, width)`) must be a multiple of the patch;
  position embeddings of pretrained weights are resampled by timm.

## Weights

| option | what is read |
|---|---|
| `--pretrained` | timm's published weights, from the hub or its cache |
| `--weights FILE.safetensors` | tensors by timm's names, or by those of a checkpoint that timm translates |
| `--weights FILE.pth` (`.pt`, `.bin`, `.ckpt`) | the same, saved by `torch.save`: tensors only, a file with code in it is refused |
| `--weights FILE.npz` | the JAX form of plain vision transformers |
| `--weights` a checkpoint of this package | `RUN/model/model.safetensors` or `RUN/checkpoints/best.ckpt`: backbone and interpreter |
| `--weights` a checkpoint of the authors' notebooks | backbone and interpreter; `--interpreter-head positional` (CIFAR-10, STL-10, CelebA) or `mean` (Dogs vs Cats) |

A head for another number of classes starts anew; what is new and what was left over in the file is
told in one line. In Python: `iavit.load_weights(model, path)`.

The authors' interpreter does not divide its scores by `sqrt(D)`. Its queries are made `sqrt(D)`
times as long on loading, so that logits and attention come out by their formulas; their extractor
attention is a sum over layers, ours is that sum scaled to add up to 1.

## Fine-tuning

| option | what it does |
|---|---|
| `--freeze` | the classifier and the interpreter alone are trained; frozen parts rest: no dropout, no new batch statistics |
| `--unfreeze-last K` | with it: the last K blocks, and the norms and attention pool after them, are trained, too |
| `--layer-decay D` | a block learns D times as fast as the next one, the classifier and the interpreter at the full rate (timm's grouping) |
| `--drop-path P` | stochastic depth |
| `--mixup A`, `--cutmix A` | images mixed in pairs (timm); both branches see the same mixed image, so the simulation compares like with like; accuracy in training is against the larger part |
| `--label-smoothing E` | of the predictor's loss in training; validation is without |
| `--ema D` | the moving average of the weights (lightning's callback) is what is validated, chosen and saved |

A usual start: `iavit train --pretrained --backbone vit_small_patch14_dinov2 --layer-decay 0.75
--drop-path 0.1 --mixup 0.8 --cutmix 1.0 --label-smoothing 0.1 --ema 0.999 --lr 5e-4`.

## What is refused, and what to use

| what | why | instead |
|---|---|---|
| Swin, MViT, PVT, Hiera and other hierarchical transformers | tokens are merged from stage to stage and attend within windows: there is no map over one grid | a row of the table |
| convolutional networks | there are no tokens | a row of the table, `vit_tiny_r_s16_p8_224` for a convolutional stem |
| CaiT, XCiT, SAM, NaFlexViT, Qwen, Gemma and DeepSeek towers | talking heads, attention among channels, windows, or packed sequences | a row of the table |
| differential attention (`vit_dwee_patch16_reg1_gap_256`) | the difference of two softmaxes is no distribution | `vit_wee_patch16_reg1_gap_256` |
| `patch_drop_rate`, pooling `prr` or none | no fixed map, or a head that is not a linear reading | build it without |
"""


def test_the_page_says_what_was_checked() -> None:
    if os.environ.get("IAVIT_WRITE_DOCS"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page()
