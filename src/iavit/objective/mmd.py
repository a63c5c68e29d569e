"""Maximum mean discrepancy between two samples, with a mixture of RBF kernels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Bandwidth = Literal["median", "mean"]

# Multiples of the reference distance; several, so that no single guess has to be right.
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mmd_squared(
    x: Tensor,
    y: Tensor,
    *,
    bandwidth: Bandwidth | float = "median",
    unbiased: bool = False,
) -> Tensor:
    """`MMD^2 = mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j)`, a scalar.

    `k(u, v)` is the mean over the multiples `s` in `BANDWIDTHS` of
    `exp(-|u - v|^2 / (2 s m))`, where `m` is the reference squared distance.

    x: (B, N). y: (B', N).
    bandwidth: `m` as the median or mean squared distance between distinct points of both
        samples (taken as a constant by the gradient), or a number.
    unbiased: leave `i = j` out of the first two means (U-statistic, can be below 0); otherwise
        the V-statistic, which is 0 for equal samples and never negative.

    Source: Gretton et al., JMLR 13 (2012), equations 3 and 5.
    """
    both = torch.cat([x, y])
    distances = squared_distances(both, both)  # (B + B', B + B')
    reference = _reference(both, distances, bandwidth) if isinstance(bandwidth, str) else bandwidth
    kernel = torch.stack([torch.exp(-distances / (2 * s * reference)) for s in BANDWIDTHS])
    kernel = kernel.mean(dim=0)
    size = len(x)
    within_x, within_y = kernel[:size, :size], kernel[size:, size:]
    cross = kernel[:size, size:]
    average = _mean_off_diagonal if unbiased else torch.mean
    return average(within_x) + average(within_y) - 2 * cross.mean()


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """(B, N) and (B', N) to (B, B'), by the Gram matrix of the centred points.

    Centred, because attention vectors are far closer to each other than they are to 0: without
    it their distances would drown in the rounding of the products.
    """
    centre = torch.cat([x, y]).mean(dim=0).detach()
    x, y = x - centre, y - centre
    norms = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)[None, :]
    return (norms - 2 * x @ y.T).clamp_min(0)


@torch.no_grad()
def _reference(points: Tensor, distances: Tensor, bandwidth: Bandwidth) -> Tensor:
    """The median or mean over pairs; never below what rounding makes of equal points."""
    distinct = torch.ones_like(distances, dtype=torch.bool).fill_diagonal_(False)
    pairs = distances[distinct]
    chosen = pairs.median() if bandwidth == "median" else pairs.mean()
    return chosen.clamp_min(torch.finfo(points.dtype).eps * points.square().sum(dim=1).mean())


def _mean_off_diagonal(kernel: Tensor) -> Tensor:
    size = len(kernel)
    return (kernel.sum() - kernel.diagonal().sum()) / (size * (size - 1))
