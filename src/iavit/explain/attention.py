"""Explanations read off the extractor's attention: the same for every target."""

from __future__ import annotations

import torch
from torch import Tensor

from iavit.model.iavit import IAViT
from iavit.types import Explanation


def raw_attention(model: IAViT, images: Tensor, targets: Tensor) -> Explanation:
    """The last layer's attention to each patch, mean over heads, of what the head reads, (B, h, w).

    With a class token: its row. With average pooling: the mean over patch rows. With attention
    pooling: the pool's own attention, as the pool is the last layer.
    """
    maps, read = model.extractor.attention_flow(images)  # (B, heads, T, T) each, (B, T)
    if getattr(model.extractor.backbone, "attn_pool", None) is None:
        read = torch.einsum("bq,bhqk->bhk", read, maps[-1]).mean(dim=1)
    return _explanation(model, read, targets, "raw_attention")


def rollout(model: IAViT, images: Tensor, targets: Tensor) -> Explanation:
    """What the head reads, followed back through the product of `(A + I) / 2`, (B, h, w).

    `A` is a layer's mean over heads; the half of the identity stands for the residual
    connection. With a class token it is that token's row of the product; without one, the mean
    over the rows of patches, weighted as the pooling weighs them.

    Source: Abnar and Zuidema, ACL 2020, section 3.
    """
    maps, read = model.extractor.attention_flow(images)
    flow = read[:, None]  # (B, 1, T)
    for layer in reversed(maps):
        attention = layer.mean(dim=1)  # (B, T, T)
        flow = (flow @ attention + flow) / 2
    return _explanation(model, flow[:, 0], targets, "rollout")


def attention_received(model: IAViT, images: Tensor, targets: Tensor) -> Explanation:
    """Attention that each patch receives, mean over layers, heads and patch queries, (B, h, w).

    What the interpreter's attention is aligned with.
    """
    attention = model(images).extractor_attention
    return Explanation(attention.unflatten(1, model.grid), targets, "attention_received")


def _explanation(model: IAViT, over_tokens: Tensor, targets: Tensor, name: str) -> Explanation:
    patches = over_tokens[:, model.extractor.prefix :]  # (B, N)
    return Explanation(patches.unflatten(1, model.grid), targets, name)
