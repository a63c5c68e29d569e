"""Means, intervals and paired differences: the only place where values become figures."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from torch import Tensor

CONFIDENCE = 0.95
RESAMPLES = 5_000


class Figure(TypedDict):
    """A mean over images and its 95 % bootstrap interval."""

    mean: float | None
    low: float | None
    high: float | None


def interval(values: Tensor, seed: int = 0) -> Figure:
    """The mean of (n,) values and its percentile bootstrap interval over images.

    NaN marks an image for which the metric is not defined: it is left out. Where none is left,
    every number is None; with one, the interval is that value.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    defined = values[~values.isnan()].double().cpu().numpy()
    if len(defined) == 0:
        return {"mean": None, "low": None, "high": None}
    means = _resampled_means(defined, np.random.default_rng(seed))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return {"mean": float(defined.mean()), "low": float(low), "high": float(high)}


def paired_difference(a: Tensor, b: Tensor, seed: int = 0) -> Figure:
    """The mean of `a - b` over the images for which both are defined, with its interval.

    a, b: (n,) values of the same images in the same order.
    """
    return interval(a - b, seed)


def _resampled_means(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(RESAMPLES,) means of samples drawn with replacement, in blocks that bound the memory."""
    block = max(1, 2_000_000 // len(values))
    means = []
    for start in range(0, RESAMPLES, block):
        count = min(block, RESAMPLES - start)
        chosen = generator.integers(len(values), size=(count, len(values)))
        means.append(values[chosen].mean(axis=1))
    return np.concatenate(means)
