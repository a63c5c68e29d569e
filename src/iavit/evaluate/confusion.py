"""Group metrics of classifications from counts: every rate, every gap, and what chance does.

All that these metrics need of a group is its confusion matrix. Drawing the group's images again
with replacement is one multinomial draw of the matrix's cells, so a bootstrap that is stratified
by group costs no more than its counts. (fairlearn's own bootstrap draws over all images, and so
lets small groups vanish, and calls every metric anew for each resample.)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import numpy as np

RESAMPLES = 2_000  # fewer than of plain means: each draws and counts whole confusion matrices
BLOCK = 4_000_000  # cells drawn at once, which bounds the memory

Rates = dict[str, np.ndarray]


def confusions(
    labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """(G, C, C) counts by group, true class and predicted class, of (n,) numbers each.

    shape: (G, C).
    """
    count, classes = shape
    cells = (groups * classes + labels) * classes + predicted
    return np.bincount(cells, minlength=count * classes**2).reshape(count, classes, classes)


def rates(confusion: np.ndarray) -> Rates:
    """Rates of (..., C, C) confusion matrices; NaN where one is not defined.

    `accuracy` and `balanced_accuracy` are (...); the others (..., K) look at each class against
    the rest: at class 1 alone where there are two, else at every class.
    """
    confusion = confusion.astype(float)
    total = confusion.sum(axis=(-2, -1))
    right = np.diagonal(confusion, axis1=-2, axis2=-1)  # (..., C)
    actual, chosen = confusion.sum(axis=-1), confusion.sum(axis=-2)
    recall = _share(right, actual)
    classes = slice(1, None) if confusion.shape[-1] == 2 else slice(None)
    each = total[..., None]
    return {
        "accuracy": _share(right.sum(axis=-1), total),
        "balanced_accuracy": recall.mean(axis=-1),
        "selection_rate": _share(chosen, each)[..., classes],
        "true_positive_rate": recall[..., classes],
        "false_positive_rate": _share(chosen - right, each - actual)[..., classes],
    }


def class_gaps(rates: Rates) -> Rates:
    """Largest minus smallest rate over groups: (..., G, K) to (..., K), NaN if a group has none.

    `equalised_odds` is the larger of the gaps in true and in false positive rate, as fairlearn
    has it.
    """
    chances = _gap(rates["true_positive_rate"], -2)
    return {
        "demographic_parity": _gap(rates["selection_rate"], -2),
        "equal_opportunity": chances,
        "equalised_odds": np.maximum(chances, _gap(rates["false_positive_rate"], -2)),
    }


def gaps(confusion: np.ndarray) -> Rates:
    """Every gap of (..., G, C, C) matrices, (...).

    With more than two classes, a gap of each class against the rest: the largest over classes,
    and under `..._mean` their mean. Classes for which it is not defined are left out.
    """
    found_rates = rates(confusion)
    found = {name: _gap(found_rates[name], -1) for name in ("accuracy", "balanced_accuracy")}
    for name, each in class_gaps(found_rates).items():
        found[name] = _defined(np.nanmax, each)
        if each.shape[-1] > 1:
            found[f"{name}_mean"] = _defined(np.nanmean, each)
    return found


def resampled(confusion: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Blocks (r, G, C, C) of `RESAMPLES` draws, the images of each group drawn anew on their own.

    Every group has an image at least.
    """
    generator = np.random.default_rng(seed)
    size = max(1, BLOCK // confusion.size)
    for start in range(0, RESAMPLES, size):
        count = min(size, RESAMPLES - start)
        drawn = [
            generator.multinomial(cells.sum(), cells.ravel() / cells.sum(), size=count)
            for cells in confusion
        ]
        yield np.stack(drawn, axis=1).reshape(count, *confusion.shape)


def bounds(draws: np.ndarray) -> tuple[float | None, float | None]:
    """The 95 % percentile interval of draws, of those that are defined."""
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _gap(values: np.ndarray, axis: int) -> np.ndarray:
    difference: np.ndarray = values.max(axis=axis) - values.min(axis=axis)
    return difference


def _defined(over: Callable[..., np.ndarray], values: np.ndarray) -> np.ndarray:
    """A function over the last axis that leaves NaN out, and is NaN where nothing is left."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice|Mean of empty slice", RuntimeWarning)
        summary: np.ndarray = over(values, axis=-1)
    return summary
