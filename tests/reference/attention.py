"""Slow, obvious twins of `iavit.model.attention`: one image, head, query and key at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def softmax(scores: list[float]) -> list[float]:
    """`exp(s_k) / sum_j exp(s_j)`."""
    total = sum(math.exp(score) for score in scores)
    return [math.exp(score) / total for score in scores]


def attention_row(
    query: Tensor, keys: Tensor, scale: float, bias: Tensor | None = None
) -> list[float]:
    """Query (d,) and keys (T, d) to the row `softmax_k(scale * q . k + bias_k)`, T numbers."""
    added = [0.0] * len(keys) if bias is None else bias.tolist()
    return softmax(
        [scale * sum((query * key).tolist()) + b for key, b in zip(keys, added, strict=True)]
    )


def attention_map(queries: Tensor, keys: Tensor, scale: float) -> Tensor:
    """(T, d) and (T, d) to the whole map (T, T) of one head."""
    rows = [attention_row(query, keys, scale) for query in queries]
    return torch.tensor(rows, dtype=torch.float64)


def attention_received(
    queries: Tensor,
    keys: Tensor,
    prefix: int,
    scale: float,
    bias: Tensor | None = None,
    real: list[list[int]] | None = None,
) -> Tensor:
    """(B, heads, T, d) twice to (B, N): mean over heads and patch queries of each column.

    bias: (1 or B, heads, T, T), added to the scaled scores.
    real: of each image, the tokens that it has; each image is computed without the others.
    """
    batch, heads, tokens, _ = queries.shape
    result = torch.zeros(batch, tokens - prefix, dtype=torch.float64)
    for image in range(batch):
        there = list(range(tokens)) if real is None else real[image]
        rows = [query for query in there if query >= prefix]
        for head in range(heads):
            for query in rows:
                added = None if bias is None else bias[image % len(bias), head, query][there]
                row = attention_row(
                    queries[image, head, query], keys[image, head, there], scale, added
                )
                for key, share in zip(there, row, strict=True):
                    if key >= prefix:
                        result[image, key - prefix] += share / (heads * len(rows))
    return result


def eager_attention_received(
    queries: Tensor, keys: Tensor, prefix: int, scale: float, bias: Tensor | float = 0.0
) -> Tensor:
    """The same with whole maps in memory, for autograd to differentiate."""
    maps = (queries @ keys.transpose(-2, -1) * scale + bias).softmax(dim=-1)  # (B, heads, T, T)
    return maps[:, :, prefix:, prefix:].mean(dim=(1, 2))


def mean_received(maps: list[Tensor], prefix: int) -> Tensor:
    """Every layer's map, (B, heads, T, T), to the probability vector over patches, (B, N)."""
    batch, heads, tokens, _ = maps[0].shape
    result = torch.zeros(batch, tokens - prefix, dtype=torch.float64)
    for image in range(batch):
        for layer in maps:
            for head in range(heads):
                for query in range(prefix, tokens):
                    for key in range(prefix, tokens):
                        result[image, key - prefix] += float(layer[image, head, query, key])
        result[image] /= sum(result[image].tolist())
    return result
