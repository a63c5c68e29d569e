"""Values of images as figures: means with intervals, rank correlations, paired comparisons.

Figures of groups, for which images are drawn anew within each group, are in `fairness`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from iavit.evaluate.evaluation import UNDEFINED, Comparison, Figure

CONFIDENCE = 0.95
RESAMPLES = 5_000
FLIPS = 10_000  # sign patterns of a permutation test, the observed one among them
BLOCK = 2_000_000  # numbers drawn at once, which bounds the memory


def interval(values: Tensor, seed: int = 0) -> Figure:
    """The mean of (n,) values and its 95 % interval over images.

    The percentile bootstrap; of values that are all 0 or 1, a share, Wilson's, which has a width
    where all are right, too. NaN marks an image for which the metric is not defined: it is left
    out. Where none is left, every number is None; with one there is no interval.

    Source: Efron and Tibshirani 1993, chapter 13; `share_interval`.
    """
    return intervals(values[:, None], seed)[0]


def intervals(table: Tensor, seed: int = 0) -> list[Figure]:
    """`interval` of each column of (n, K) values; columns defined alike share the resamples."""
    figures = bootstrap_intervals(table, seed)
    for column, values in enumerate(table.double().cpu().numpy().T):
        known = values[~np.isnan(values)]
        if len(known) > 1 and np.isin(known, (0.0, 1.0)).all():
            figures[column] = share_interval(int(known.sum()), len(known))
    return figures


def bootstrap_intervals(table: Tensor, seed: int = 0) -> list[Figure]:
    """The mean of each column of (n, K) values and its percentile bootstrap interval.

    Right for differences, too, whose values may be 0 and 1 without being shares.
    """
    numbers = table.double().cpu().numpy()
    defined = ~np.isnan(numbers)
    figures = [UNDEFINED] * numbers.shape[1]
    for images in np.unique(defined, axis=1).T:  # (n,) bool, one for each way of being defined
        if not images.any():
            continue
        columns = np.flatnonzero((defined == images[:, None]).all(axis=0))
        values = numbers[np.ix_(images, columns)]
        if len(values) == 1:  # says nothing of others
            for column in columns:
                figures[column] = Figure(float(values[0, columns == column].item()), None, None)
            continue
        tails = 50 * (1 - CONFIDENCE) * np.array([1, -1]) + [0, 100]  # per cent
        lows, highs = np.percentile(_resampled_means(values, seed), tails, axis=0)
        for column, mean, low, high in zip(columns, values.mean(axis=0), lows, highs, strict=True):
            figures[column] = Figure(float(mean), float(low), float(high))
    return figures


def share_interval(hits: int, count: int) -> Figure:
    """A share of images and its Wilson score interval, which holds for few images and for all.

    Source: Wilson 1927; Brown, Cai and DasGupta 2001. None of anything where `count` is 0.
    """
    if not count:
        return UNDEFINED
    from scipy.stats import binomtest  # explaining an image does not wait for it

    found = binomtest(hits, count).proportion_ci(CONFIDENCE, method="wilson")
    return Figure(hits / count, float(found.low), float(found.high))


def rank_correlation(a: Tensor, b: Tensor, seed: int = 0) -> Figure:
    """Spearman's rank correlation of two (n,) values of the same images, with its interval.

    Equal values share their mean rank, also in the bootstrap samples. NaN is left out; None where
    either is constant.

    Source: Spearman 1904; the interval as in `interval`.
    """
    pairs = np.stack([a.double().cpu().numpy(), b.double().cpu().numpy()])
    first, second = pairs[:, ~np.isnan(pairs).any(axis=0)]
    count = len(first)
    whole = _weighted_spearman(first, second, np.ones((1, count)))
    if np.isnan(whole).any():
        return UNDEFINED
    generator = np.random.default_rng(seed)
    found = np.concatenate(
        [
            _weighted_spearman(first, second, _times_drawn(rows, count, generator))
            for rows in _blocks(RESAMPLES, count)
        ]
    )
    low, high = np.nanpercentile(found, 50 * (1 - CONFIDENCE) * np.array([1, -1]) + [0, 100])
    return Figure(float(whole[0]), float(low), float(high))


def compare(metric: str, values: Mapping[str, Tensor], seed: int = 0) -> list[Comparison]:
    """The first explainer against each of K others in one metric; empty with a single one.

    values: explainer to values (n,) of the same images. The K p values are corrected together,
        as a reader looks for the smallest of them.
    """
    first, *others = values
    if not others:
        return []
    differences = values[first][:, None] - torch.stack([values[name] for name in others], dim=1)
    p = sign_flip_p(differences, seed)
    known = [index for index, value in enumerate(p) if value is not None]
    adjusted = dict(zip(known, holm([value for value in p if value is not None]), strict=True))
    return [
        Comparison(
            metric,
            first,
            name,
            figure,
            p[index],
            adjusted.get(index),
            _inside_noise(figure, adjusted.get(index)),
        )
        for index, (name, figure) in enumerate(
            zip(others, bootstrap_intervals(differences, seed), strict=True)
        )
    ]


def sign_flip_p(differences: Tensor, seed: int = 0) -> list[float | None]:
    """How often random signs make the mean of (n, K) paired differences as large: a p value each.

    If both explainers were equally good, each difference might as well have had the other sign.
    Two-sided. All 2^n patterns up to n = 13, else `FLIPS` of them, the observed one among them,
    so that p is never 0. Chosen before a bootstrap p value because it is exact for any number of
    images and any distribution under that hypothesis. NaN is left out; None where all are.

    Source: Fisher 1935, section 21; of random patterns, Phipson and Smyth 2010.
    """
    table = differences.double().cpu().numpy()
    defined = ~np.isnan(table)
    table = np.where(defined, table, 0.0)  # adds nothing, whatever its sign
    observed = np.abs(table.sum(axis=0))
    # Sums of the same numbers in another order differ by rounding; they count as equal.
    reached = observed - 1e-12 * np.abs(table).sum(axis=0)
    extreme, patterns = np.zeros(table.shape[1]), 0
    for signs in _sign_patterns(len(table), seed):
        extreme += (np.abs(signs @ table) >= reached).sum(axis=0)
        patterns += len(signs)
    return [
        float(count / patterns) if any_defined else None
        for count, any_defined in zip(extreme, defined.any(axis=0), strict=True)
    ]


def holm(p: list[float]) -> list[float]:
    """Adjusted p values that keep the chance of any false alarm among them at its level.

    The i-th smallest of m times `m - i + 1`, never below the one before it, at most 1.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for place, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - place) * p[index]))
        adjusted[index] = largest
    return adjusted


def _inside_noise(figure: Figure, adjusted_p: float | None) -> bool:
    if figure.low is None or figure.high is None or adjusted_p is None:
        return True
    return figure.low <= 0 <= figure.high or adjusted_p > 1 - CONFIDENCE


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    """(RESAMPLES, K) means of samples of (n, K) values, whole rows drawn with replacement."""
    count = len(values)
    mean = values.mean(axis=0)
    centred = values - mean  # so that a constant has no spread, not even by rounding
    generator = np.random.default_rng(seed)
    means = []
    for rows in _blocks(RESAMPLES, count):
        times = _times_drawn(rows, count, generator)
        means.append(mean + times @ centred / count)
    return np.concatenate(means)


def _times_drawn(rows: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """(rows, n): how often each of n images is in each of so many samples of n."""
    chosen = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
    return np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count)


def _weighted_spearman(a: np.ndarray, b: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(rows,) rank correlations of (n,) values of which sample holds each so many times."""
    count = times.shape[1]
    x, y = (_mid_ranks(values, times) - (count + 1) / 2 for values in (a, b))
    spread = np.sqrt((times * x * x).sum(axis=1) * (times * y * y).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return (times * x * y).sum(axis=1) / spread


def _mid_ranks(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(rows, n): each value's mean rank, from 1 to n, among those of its sample."""
    distinct, group = np.unique(values, return_inverse=True)
    in_group = np.arange(len(distinct)) == group[:, None]  # (n, groups)
    counts = times.astype(float) @ in_group.astype(float)
    ends = counts.cumsum(axis=1)
    return (ends - (counts - 1) / 2)[:, group]


def _sign_patterns(count: int, seed: int) -> Iterator[np.ndarray]:
    """(rows, n) of 1 and -1, block by block."""
    if 2**count <= FLIPS:
        bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
        yield 1.0 - 2.0 * bits
        return
    yield np.ones((1, count))
    generator = np.random.default_rng(seed)
    for rows in _blocks(FLIPS - 1, count):
        yield 1.0 - 2.0 * generator.integers(2, size=(rows, count), dtype=np.int8)


def _blocks(total: int, width: int) -> Iterator[int]:
    """Numbers of rows that add up to the total, none of more than `BLOCK` numbers."""
    size = max(1, BLOCK // width)
    for start in range(0, total, size):
        yield min(size, total - start)
