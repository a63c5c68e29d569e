"""The model of the authors' notebooks by its formulas, in float64, from their parameters alone.

One image at a time; `x` (T, D) are tokens, the class token first, and `p` the state dict under
the notebooks' names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Said:
    """Of one image: both logits (C,), and both attentions as the notebooks add them up, (N,)."""

    logits: Tensor
    interpreter_logits: Tensor
    extractor_attention: Tensor
    interpreter_attention: Tensor


def affine(p: Parameters, name: str, x: Tensor) -> Tensor:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def layer_norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = centred.square().mean(dim=-1, keepdim=True)
    return centred / (variance + 1e-6).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def softmax(scores: Tensor) -> Tensor:
    powers = scores.exp()
    return powers / powers.sum(dim=-1, keepdim=True)


def embed(p: Parameters, image: Tensor) -> Tensor:
    """(3, H, W) to (T, D): patches row by row through the convolution, the class token first."""
    kernel = p["transformer.embeddings.patch_embeddings.weight"]  # (D, 3, s, s)
    side = kernel.shape[-1]
    tokens = [p["transformer.embeddings.cls_token"][0, 0]]
    for top in range(0, image.shape[1], side):
        for left in range(0, image.shape[2], side):
            patch = image[:, top : top + side, left : left + side]
            tokens.append((kernel * patch).sum(dim=(1, 2, 3)))
            tokens[-1] = tokens[-1] + p["transformer.embeddings.patch_embeddings.bias"]
    return torch.stack(tokens) + p["transformer.embeddings.position_embeddings"][0]


def attend(p: Parameters, name: str, x: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Multi-head self-attention, (T, D), and its maps, (heads, T, T)."""
    width = x.shape[-1] // heads
    queries, keys, values = (affine(p, f"{name}.{part}", x) for part in ("query", "key", "value"))
    maps, contexts = [], []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        maps.append(softmax(queries[:, part] @ keys[:, part].T / math.sqrt(width)))
        contexts.append(maps[-1] @ values[:, part])
    return affine(p, f"{name}.out", torch.cat(contexts, dim=-1)), torch.stack(maps)


def say(p: Parameters, image: Tensor, heads: int, depth: int) -> Said:
    """(3, H, W) to everything that a notebook reads off its model."""
    x = embed(p, image)
    received = torch.zeros(len(x) - 1, dtype=torch.float64)
    for at in range(depth):
        layer = f"transformer.encoder.layer.{at}"
        attended, maps = attend(
            p, f"{layer}.attn", layer_norm(p, f"{layer}.attention_norm", x), heads
        )
        received += maps.mean(dim=0)[1:, 1:].mean(dim=0)  # summed over layers
        x = x + attended
        hidden = gelu(affine(p, f"{layer}.ffn.fc1", layer_norm(p, f"{layer}.ffn_norm", x)))
        x = x + affine(p, f"{layer}.ffn.fc2", hidden)
    x = layer_norm(p, "transformer.encoder.encoder_norm", x)
    h = x[1:]
    attention = softmax(affine(p, "query", h) @ affine(p, "key", h).T)  # not divided by sqrt(D)
    context = attention @ affine(p, "value", h)
    if "fc1.weight" in p:
        inter = affine(p, "fc2", affine(p, "fc1", context)[:, 0])
    else:
        inter = affine(p, "inter_head", context.mean(dim=0))
    return Said(affine(p, "head", x[0]), inter, received, attention.mean(dim=0))
