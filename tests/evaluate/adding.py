"""A transformer whose answers can be computed by hand."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn


def adding(height: int, width: int) -> VisionTransformer:
    """A transformer without blocks: the logits are the sum of the first channel, and 0."""
    vit = VisionTransformer(
        img_size=(height, width),  # type: ignore[arg-type]
        patch_size=1,
        num_classes=2,
        embed_dim=1,
        num_heads=1,
        depth=0,
        class_token=False,
        pos_embed="none",
        global_pool="avg",
        fc_norm=False,
        norm_layer=nn.Identity,  # type: ignore[arg-type]
    )
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.zero_()
        vit.patch_embed.proj.weight[0, 0] = 1
        vit.head.weight[0] = height * width  # type: ignore[operator, index]
    return vit.eval()
