"""Slow, obvious twins of `iavit.explain.attention_maps`, from every layer's map (B, heads, T, T).

Each returns (B, N). The attention received has its twin in `tests.reference.attention`, the
interpreter's explanations in `tests.reference.interpreter`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def head_mean(layer: Tensor, image: int) -> Tensor:
    """One image's map, (T, T), mean over heads."""
    heads = layer.shape[1]
    total = torch.zeros(layer.shape[2:], dtype=torch.float64)
    for head in range(heads):
        total += layer[image, head].double()
    return total / heads


def raw_attention(maps: list[Tensor], prefix: int, read: list[int] | None = None) -> Tensor:
    """The mean over the tokens `read`, by default the class token, of their rows, last layer."""
    rows = [head_mean(maps[-1], image)[read or [0], prefix:] for image in range(len(maps[-1]))]
    return torch.stack([sum(row, torch.zeros(row.shape[1])) / len(row) for row in rows])


def rollout(maps: list[Tensor], prefix: int, read: list[int] | None = None) -> Tensor:
    """Rows of `M_L M_(L-1) ... M_1`, where `M_l = A_l / 2 + I / 2`: as in `raw_attention`."""
    rows = []
    for image in range(len(maps[0])):
        product = torch.eye(maps[0].shape[-1], dtype=torch.float64)
        for layer in maps:  # the first layer is the rightmost factor
            mixed = torch.zeros_like(product)
            for token, row in enumerate(head_mean(layer, image)):
                mixed[token] = row / 2
                mixed[token, token] += 0.5
            product = mixed @ product
        wanted = [product[token, prefix:] for token in read or [0]]
        rows.append(sum(wanted, torch.zeros(len(wanted[0]))) / len(wanted))
    return torch.stack(rows)
