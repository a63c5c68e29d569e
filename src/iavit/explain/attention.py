"""Explanations read off the extractor's attention: the same for every target."""

from __future__ import annotations

import torch
from torch import Tensor

from iavit.model.iavit import IAViT
from iavit.types import Explanation


def raw_attention(model: IAViT, images: Tensor, targets: Tensor) -> Explanation:
    """The class token's attention to each patch in the last layer, mean over heads, (B, h, w)."""
    last = model.extractor.attention_maps(images)[-1]  # (B, heads, T, T)
    return _explanation(model, last.mean(dim=1)[:, 0], targets, "raw_attention")


def rollout(model: IAViT, images: Tensor, targets: Tensor) -> Explanation:
    """The class token's row of the product over layers of `(A + I) / 2`, (B, h, w).

    `A` is the mean over heads; the half of the identity stands for the residual connection.

    Source: Abnar and Zuidema, ACL 2020, section 3.
    """
    maps = [layer.mean(dim=1) for layer in model.extractor.attention_maps(images)]  # (B, T, T)
    identity = torch.eye(maps[0].shape[-1], dtype=maps[0].dtype, device=images.device)
    flow = identity[:1].expand(len(images), 1, -1)  # the class token's row, (B, 1, T)
    for layer in reversed(maps):
        flow = flow @ ((layer + identity) / 2)
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
