"""Writes the table of `docs/backbones.md`: what timm's families of vision transformers are like.

`python docs/families.py`, or `make docs`; the tests hold the page against it and check each family.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import iavit  # noqa: F401  (lets timm be imported beside any build of torchvision)

# isort: split
import timm
import torch
from torch import nn

from iavit.model.extractor import Backbone

PAGE = Path(__file__).parent / "backbones.md"
CLASSES, GRID = 5, (3, 2)  # h and w differ, so that they cannot change places


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


def row(family: Family) -> str:
    """A line of the table, read off a small model of the family."""
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


def with_table(page: str) -> str:
    """The page with its table of families made anew."""
    before, rule, after = page.partition("|---|---|---|---|---|---|\n")
    rows = "".join(f"{row(family)}\n" for family in FAMILIES)
    return before + rule + rows + after[after.index("\n\n") + 1 :]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
