"""Slow, obvious twins of `iavit.model.interpreter`, for one image, from its parameters alone.

`z` (N, D) are the patch tokens, `A` (N, N) the attention map, `a` (N,) the attention received.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tests.reference.attention import softmax

Parameters = dict[str, Tensor]  # the interpreter's state dict


def affine(weight: Tensor, bias: Tensor, x: Tensor) -> list[float]:
    """`y_o = sum_i W_oi x_i + b_o`."""
    outputs = zip(weight.tolist(), bias.tolist(), strict=True)
    return [b + sum(w * v for w, v in zip(row, x.tolist(), strict=True)) for row, b in outputs]


def project(g: Parameters, name: str, z: Tensor) -> Tensor:
    """Each token through one linear layer, (N, D) to (N, outputs)."""
    rows = [affine(g[f"{name}.weight"], g[f"{name}.bias"], token) for token in z]
    return torch.tensor(rows, dtype=torch.float64)


def attention(g: Parameters, z: Tensor) -> Tensor:
    """`A[q, k] = softmax_k(Q_q . K_k / sqrt(D))`."""
    queries, keys = project(g, "query", z), project(g, "key", z)
    patches, channels = z.shape
    rows = []
    for q in range(patches):
        dots = [float(queries[q] @ keys[k]) for k in range(patches)]
        rows.append(softmax([dot / math.sqrt(channels) for dot in dots]))
    return torch.tensor(rows, dtype=torch.float64)


def received(g: Parameters, z: Tensor) -> Tensor:
    """`a_k = mean_q A[q, k]`."""
    a = attention(g, z)
    patches = len(a)
    means = [sum(float(a[q, k]) for q in range(patches)) / patches for k in range(patches)]
    return torch.tensor(means, dtype=torch.float64)


def context(g: Parameters, z: Tensor) -> Tensor:
    """`(A V)[q] = sum_k A[q, k] v_k`, (N, D)."""
    a, values = attention(g, z), project(g, "value", z)
    result = torch.zeros_like(values)
    for q in range(len(z)):
        for k in range(len(z)):
            result[q] += a[q, k] * values[k]
    return result


def mean_logits(g: Parameters, z: Tensor) -> Tensor:
    """`g = W mean_q (A V)[q] + b`, (C,)."""
    per_query = context(g, z)
    mean = torch.zeros_like(per_query[0])
    for row in per_query:
        mean += row / len(z)
    logits = affine(g["head.weight"], g["head.bias"], mean)
    return torch.tensor(logits, dtype=torch.float64)


def positional_logits(g: Parameters, z: Tensor) -> Tensor:
    """`s_q = w . (A V)[q] + c`, then `g = U s + b`, (C,)."""
    scalars = project(g, "token_score", context(g, z))[:, 0]
    logits = affine(g["head.weight"], g["head.bias"], scalars)
    return torch.tensor(logits, dtype=torch.float64)


def mean_contributions(g: Parameters, z: Tensor) -> Tensor:
    """`a_k (W_c . v_k)`, (N, C)."""
    a, values, weight = received(g, z), project(g, "value", z), g["head.weight"]
    result = torch.zeros(len(z), len(weight), dtype=torch.float64)
    for k in range(len(z)):
        for c in range(len(weight)):
            result[k, c] = a[k] * float(weight[c] @ values[k])
    return result


def positional_contributions(g: Parameters, z: Tensor) -> Tensor:
    """`(sum_q U[c, q] A[q, k]) (w . v_k)`, (N, C)."""
    a, values = attention(g, z), project(g, "value", z)
    positions, score = g["head.weight"], g["token_score.weight"][0]
    result = torch.zeros(len(z), len(positions), dtype=torch.float64)
    for k in range(len(z)):
        for c in range(len(positions)):
            reach = sum(float(positions[c, q]) * float(a[q, k]) for q in range(len(z)))
            result[k, c] = reach * float(score @ values[k])
    return result
