"""Explanations read off the extractor's attention: the same for every target."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iavit.model.explainable import looking_inside
from iavit.model.extractor import Extractor
from iavit.types import Explanation


def raw_attention(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """The last layer's attention to each patch, mean over heads, of what the head reads, (B, h, w).

    With a class token: its row. With average pooling: the mean over patch rows. With attention
    pooling: the pool's own attention, as the pool is the last layer.
    """
    with looking_inside(model, images, targets) as (extractor, images, targets):
        maps, read = extractor.attention_flow(images)  # (B, heads, T, T) each, (B, T)
        if getattr(extractor.backbone, "attn_pool", None) is None:
            read = torch.einsum("bq,bhqk->bhk", read, maps[-1]).mean(dim=1)
        return _explanation(extractor, read, targets, "raw_attention")


def rollout(
    model: nn.Module, images: Tensor, targets: Tensor, *, first_layer: int = 0
) -> Explanation:
    """What the head reads, followed back through the product of `(A + I) / 2`, (B, h, w).

    `A` is a layer's mean over heads; the half of the identity stands for the residual
    connection. With a class token it is that token's row of the product; without one, the mean
    over the rows of patches, weighted as the pooling weighs them.

    first_layer: the earliest layer of the product, from 0. The published evaluation of Chefer et
        al., CVPR 2021, leaves the first one out: 1.

    Source: Abnar and Zuidema, ACL 2020, section 3.
    """
    with looking_inside(model, images, targets) as (extractor, images, targets):
        maps, read = extractor.attention_flow(images)
        flow = read[:, None]  # (B, 1, T)
        for layer in reversed(maps[first_layer:]):
            attention = layer.mean(dim=1)  # (B, T, T)
            flow = (flow @ attention + flow) / 2
        return _explanation(extractor, flow[:, 0], targets, "rollout")


def attention_received(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """Attention that each patch receives, mean over layers, heads and patch queries, (B, h, w).

    What the interpreter's attention is aligned with.
    """
    with looking_inside(model, images, targets) as (extractor, images, targets):
        received = extractor(images).attention  # (B, N)
        return Explanation(received.unflatten(1, extractor.grid), targets, "attention_received")


def _explanation(
    extractor: Extractor, over_tokens: Tensor, targets: Tensor, name: str
) -> Explanation:
    patches = over_tokens[:, extractor.prefix :]  # (B, N)
    return Explanation(patches.unflatten(1, extractor.grid), targets, name)
