"""Figures of several seeds as one, and differences between variants.

With two seeds or more the interval is Student's over seeds: it has the luck of a training run in
it, which images cannot tell. With a single seed it is the bootstrap interval over images.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor

from iavit.evaluate.evaluation import Figure
from iavit.evaluate.statistics import CONFIDENCE, bootstrap_intervals


@dataclass(frozen=True)
class Estimate:
    """A mean with a 95 % interval; its standard deviation over seeds, None with a single one.

    count: of what it is the mean: seeds, or pairs of runs.
    """

    mean: float
    low: float | None
    high: float | None
    spread: float | None
    count: int


def over_seeds(figures: Sequence[Figure | None]) -> Estimate | None:
    """The mean over seeds of a figure; None where no seed has it.

    figures: one a seed; those that are not defined are left out.
    """
    known = [f for f in figures if f is not None and f.mean is not None]
    if len(known) == 1:
        (only,) = known
        assert only.mean is not None
        return Estimate(only.mean, only.low, only.high, None, 1)
    return _of_means([f.mean for f in known if f.mean is not None])


def difference(pairs: Sequence[tuple[Figure | None, Figure | None]]) -> Estimate | None:
    """The mean of a minus b over pairs of runs, as of each seed, that both have a figure.

    With a single pair the half-widths of the two intervals are added as those of independent
    figures: the same images are in both, so this is too wide rather than too narrow.
    """
    known = [
        (a.mean - b.mean, math.hypot(_half_width(a), _half_width(b)))
        for a, b in pairs
        if a is not None and b is not None and a.mean is not None and b.mean is not None
    ]
    if len(known) != 1:
        return _of_means([mean for mean, _ in known])
    ((mean, half),) = known
    return Estimate(mean, mean - half, mean + half, None, 1)


def pooled_difference(pairs: Sequence[tuple[Tensor, Tensor]]) -> Estimate | None:
    """The mean of a minus b over the images of all seeds, each image's pair kept together.

    pairs: (n,) values of the same images, one pair a seed. The interval is over images alone.
    """
    if not pairs:
        return None
    (found,) = bootstrap_intervals(torch.cat([a.double() - b.double() for a, b in pairs])[:, None])
    if found.mean is None:
        return None
    return Estimate(found.mean, found.low, found.high, None, len(pairs))


def _half_width(figure: Figure) -> float:
    if figure.low is None or figure.high is None:
        return 0.0
    return (figure.high - figure.low) / 2


def _of_means(means: Sequence[float]) -> Estimate | None:
    """Of none, or of two and more."""
    if not means:
        return None
    mean, spread = statistics.fmean(means), statistics.stdev(means)
    quantile = float(student.ppf((1 + CONFIDENCE) / 2, len(means) - 1))
    half = quantile * spread / math.sqrt(len(means))
    return Estimate(mean, mean - half, mean + half, spread, len(means))
