"""Slow, obvious twins of `iavit.objective`: one pair, image and class at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from tests.reference.attention import softmax

MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)


def squared_distance(u: Tensor, v: Tensor) -> float:
    """`|u - v|^2`."""
    return float(sum((a - b) ** 2 for a, b in zip(u.tolist(), v.tolist(), strict=True)))


def kernel(u: Tensor, v: Tensor, reference: float) -> float:
    """Mean over the multiples `s` of `exp(-|u - v|^2 / (2 s m))`."""
    d = squared_distance(u, v)
    return sum(math.exp(-d / (2 * s * reference)) for s in MULTIPLES) / len(MULTIPLES)


def reference_distance(x: Tensor, y: Tensor, kind: str) -> float:
    """Median (the lower of the two in the middle) or mean over pairs of points of both samples."""
    points = [*x, *y]
    pairs = [(i, j) for i in range(len(points)) for j in range(i)]
    distances = sorted(squared_distance(points[i], points[j]) for i, j in pairs)
    if kind == "median":
        return distances[(len(distances) - 1) // 2]
    return sum(distances) / len(distances)


def mean_kernel(x: Tensor, y: Tensor, reference: float, *, leave_out_equal: bool) -> float:
    """`mean_ij k(x_i, y_j)`, with or without the pairs `i = j`."""
    values = [
        kernel(u, v, reference)
        for i, u in enumerate(x)
        for j, v in enumerate(y)
        if i != j or not leave_out_equal
    ]
    return sum(values) / len(values)


def mmd_squared(x: Tensor, y: Tensor, bandwidth: str | float, *, unbiased: bool) -> float:
    """`mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j)`."""
    m = reference_distance(x, y, bandwidth) if isinstance(bandwidth, str) else bandwidth
    within_x = mean_kernel(x, x, m, leave_out_equal=unbiased)
    within_y = mean_kernel(y, y, m, leave_out_equal=unbiased)
    return within_x + within_y - 2 * mean_kernel(x, y, m, leave_out_equal=False)


def mmd(e: Tensor, a: Tensor) -> float:
    """The V-statistic at the median distance."""
    return mmd_squared(e, a, "median", unbiased=False)


def divergence(p: list[float], q: list[float]) -> float:
    """`KL(p || q) = sum_k p_k log(p_k / q_k)`."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def kl(e: Tensor, a: Tensor) -> float:
    """`mean_i KL(e_i || a_i)`."""
    pairs = zip(e.tolist(), a.tolist(), strict=True)
    return sum(divergence(p, q) for p, q in pairs) / len(e)


def mse(e: Tensor, a: Tensor) -> float:
    """`mean_ik (e_ik - a_ik)^2`."""
    return sum(squared_distance(u, v) for u, v in zip(e, a, strict=True)) / e.numel()


def attention_transfer(e: Tensor, a: Tensor) -> float:
    """`mse` of the squared maps, each divided by its length."""

    def unit(vector: list[float]) -> list[float]:
        squares = [value**2 for value in vector]
        length = math.sqrt(sum(square**2 for square in squares))
        return [square / length for square in squares]

    total = 0.0
    for u, v in zip(e.tolist(), a.tolist(), strict=True):
        total += sum((p - q) ** 2 for p, q in zip(unit(u), unit(v), strict=True))
    return total / e.numel()


def cross_kernel_gradient(e: Tensor, a: Tensor) -> Tensor:
    """Its gradient on each a_j, the mean distance m a constant, (B, N).

    `1 / B^2 sum_i exp(-d_ij / 2m) (e_i - a_j) / m`.
    """
    count, patches = a.shape
    distances = [[float((e[i] - a[j]).square().sum()) for j in range(count)] for i in range(count)]
    width = sum(map(sum, distances)) / count**2
    result = torch.zeros(count, patches, dtype=torch.float64)
    for i in range(count):
        for j in range(count):
            kernel = math.exp(-distances[i][j] / (2 * width))
            result[j] += kernel * (e[i] - a[j]) / width / count**2
    return result


def cross_kernel(e: Tensor, a: Tensor) -> float:
    """The authors' `mean_ij exp(-d_ij / (2 mean d))`."""
    distances = [squared_distance(u, v) for u in e for v in a]
    mean = sum(distances) / len(distances)
    return sum(math.exp(-d / (2 * mean)) for d in distances) / len(distances)


def simulation(f: Tensor, g: Tensor, temperature: float) -> float:
    """`T^2 mean_i KL(softmax(f_i / T) || softmax(g_i / T))`."""
    total = 0.0
    for teacher, student in zip(f.tolist(), g.tolist(), strict=True):
        p = softmax([logit / temperature for logit in teacher])
        q = softmax([logit / temperature for logit in student])
        total += divergence(p, q)
    return temperature**2 * total / len(f)


def cross_entropy(f: Tensor, labels: Tensor) -> float:
    """`-mean_i log softmax(f_i)[y_i]`."""
    rows = zip(f.tolist(), labels.tolist(), strict=True)
    return sum(-math.log(softmax(logits)[label]) for logits, label in rows) / len(f)


def effect_simulation(contributions: Tensor, gradient: Tensor) -> float:
    """`mean_i 1 - cos(contributions_i, gradient_i)`."""
    total = 0.0
    for given, wanted in zip(contributions.tolist(), gradient.tolist(), strict=True):
        dot = sum(a * b for a, b in zip(given, wanted, strict=True))
        lengths = (math.sqrt(sum(a**2 for a in vector)) for vector in (given, wanted))
        total += 1 - dot / math.prod(lengths)
    return total / len(contributions)


def effect_attention(attention: Tensor, gradient: Tensor) -> float:
    """`mean_i 1 - correlation(attention_i, gradient_i)`."""
    total = 0.0
    for given, wanted in zip(attention.tolist(), gradient.tolist(), strict=True):
        means = [sum(vector) / len(vector) for vector in (given, wanted)]
        pairs = [(a - means[0], b - means[1]) for a, b in zip(given, wanted, strict=True)]
        covariance = sum(a * b for a, b in pairs)
        spreads = (math.sqrt(sum(pair[side] ** 2 for pair in pairs)) for side in (0, 1))
        total += 1 - covariance / math.prod(spreads)
    return total / len(attention)


def banzhaf(game: Callable[[frozenset[int]], float], players: int) -> list[float]:
    """Each player's mean gain over all sets of the others that it could join (Banzhaf 1965)."""
    gains = []
    for player in range(players):
        others = [other for other in range(players) if other != player]
        sets = [frozenset(some) for size in range(players) for some in combinations(others, size)]
        gains.append(sum(game(some | {player}) - game(some) for some in sets) / len(sets))
    return gains
