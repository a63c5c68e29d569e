"""Slow, obvious twins of the measures, in float64, one image and one step at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor


def curve(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    target: int,
    heat: Tensor,
    points: int,
    substrate: float,
    *,
    insertion: bool,
) -> tuple[list[float], list[float]]:
    """Fractions and probabilities of one image (3, H, W), patch by patch of a map (h, w)."""
    height, width = heat.shape
    rows, columns = image.shape[1] // height, image.shape[2] // width
    ranked = sorted(
        ((float(heat[i, j]), i, j) for i in range(height) for j in range(width)), reverse=True
    )
    fractions, probabilities = [], []
    for point in range(points):
        count = round(point * height * width / (points - 1))
        copy = torch.full_like(image, substrate) if insertion else image.clone()
        for _, i, j in ranked[:count]:
            place = (
                slice(None),
                slice(i * rows, (i + 1) * rows),
                slice(j * columns, (j + 1) * columns),
            )
            copy[place] = image[place] if insertion else substrate
        logits = [float(value) for value in predict(copy[None])[0]]
        total = sum(math.exp(value) for value in logits)
        fractions.append(count / (height * width))
        probabilities.append(math.exp(logits[target]) / total)
    return fractions, probabilities


def area(fractions: list[float], values: list[float]) -> float:
    """Trapezoids, added up."""
    steps = zip(fractions, fractions[1:], values, values[1:], strict=False)
    return sum((right - left) * (a + b) / 2 for left, right, a, b in steps)


def resized(heat: Tensor, height: int, width: int) -> list[list[float]]:
    """Bilinear, pixel by pixel: cells and pixels are points at their middles."""

    def neighbours(pixel: int, pixels: int, cells: int) -> list[tuple[int, float]]:
        place = min(max((pixel + 0.5) * cells / pixels - 0.5, 0.0), cells - 1.0)
        low = min(int(place), cells - 1)
        return [(low, 1 - (place - low)), (min(low + 1, cells - 1), place - low)]

    return [
        [
            sum(
                a * b * float(heat[i, j])
                for i, a in neighbours(row, height, heat.shape[0])
                for j, b in neighbours(column, width, heat.shape[1])
            )
            for column in range(width)
        ]
        for row in range(height)
    ]


def pointing_game(heat: Tensor, evidence: Tensor) -> float:
    """The share of the highest pixels of a map (h, w) that are on the evidence (H, W)."""
    pixels = resized(heat, *evidence.shape)
    best = max(max(row) for row in pixels)
    hits = [
        float(evidence[i, j])
        for i, row in enumerate(pixels)
        for j, value in enumerate(row)
        if value > best - 1e-9
    ]
    return sum(hits) / len(hits)


def evidence_mass(heat: Tensor, evidence: Tensor) -> float:
    """Pixel by pixel: positive mass on the evidence over all positive mass."""
    height, width = heat.shape
    inside = total = 0.0
    for row in range(evidence.shape[0]):
        for column in range(evidence.shape[1]):
            cell = heat[row * height // evidence.shape[0], column * width // evidence.shape[1]]
            value = max(0.0, float(cell))
            total += value
            inside += value * float(evidence[row, column])
    return inside / total


def calibration_error(logits: Tensor, labels: Tensor, bins: int) -> float:
    """Bin by bin: share of images times the gap between mean confidence and accuracy."""
    probabilities = logits.double().softmax(dim=-1)
    confidence, choice = probabilities.max(dim=-1)
    error = 0.0
    for number in range(bins):
        chosen = [
            i
            for i in range(len(labels))
            if number / bins < float(confidence[i]) <= (number + 1) / bins
        ]
        if chosen:
            right = sum(float(choice[i] == labels[i]) for i in chosen) / len(chosen)
            sure = sum(float(confidence[i]) for i in chosen) / len(chosen)
            error += len(chosen) / len(labels) * abs(right - sure)
    return error


def relevance_rank_accuracy(heat: Tensor, evidence: Tensor) -> float:
    """Pixel by pixel from the top, as many as are evidence; where some are equal, their mean."""
    pixels = resized(heat, *evidence.shape)
    ranked: dict[float, list[bool]] = {}  # value to whether each pixel of it is evidence
    for i, row in enumerate(pixels):
        for j, value in enumerate(row):
            ranked.setdefault(round(value, 9), []).append(bool(evidence[i, j]))
    wanted = left = int(evidence.sum())
    hits = 0.0
    for value in sorted(ranked, reverse=True):
        group = ranked[value]
        taken = min(left, len(group))
        hits += taken * sum(group) / len(group)
        left -= taken
    return hits / wanted


def gini(heat: Tensor) -> float:
    """Half the mean difference between any two absolute values, over their mean."""
    values = [abs(float(value)) for value in heat.flatten()]
    differences = sum(abs(a - b) for a, b in itertools.product(values, values))
    return differences / (2 * len(values) * sum(values))


def permutation_p(differences: list[float]) -> float:
    """Every way of giving the differences a sign; equal means count, but for rounding."""
    observed = abs(sum(differences))
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    reached = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        >= observed - 1e-9
        for signs in patterns
    ]
    return sum(reached) / len(patterns)


def holm(p: list[float]) -> list[float]:
    """The smallest level at which Holm's procedure, run from its definition, rejects each."""

    def rejected(level: float) -> set[int]:
        found: set[int] = set()
        for step, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
            if p[index] > level / (len(p) - step) + 1e-12:
                break
            found.add(index)
        return found

    levels = sorted({1.0} | {min(1.0, value * times) for value in p for times in range(len(p) + 1)})
    return [next((level for level in levels if i in rejected(level)), 1.0) for i in range(len(p))]


def infidelity(
    answer: Callable[[Tensor], float], image: Tensor, heat: Tensor, removed: Tensor
) -> float:
    """Set by set of (S, h, w) patches to remove: foretold drop, times the best factor, less real.

    answer: (3, H, W) image to the target's score.
    """
    rows, columns = image.shape[1] // heat.shape[0], image.shape[2] // heat.shape[1]
    whole = answer(image)
    foretold, real = [], []
    for gone in removed:
        copy = image.clone()
        for i, j in gone.nonzero().tolist():
            copy[:, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns] = 0
        foretold.append(float(heat[gone].sum()))
        real.append(whole - answer(copy))
    products = sum(a * b for a, b in zip(foretold, real, strict=True))
    factor = products / sum(a * a for a in foretold)
    gaps = [(factor * a - b) ** 2 for a, b in zip(foretold, real, strict=True)]
    return sum(gaps) / len(gaps)


def rank_correlation(a: list[float], b: list[float]) -> float:
    """Pearson's correlation of ranks, each the mean of the places that equal values share."""

    def ranks(values: list[float]) -> list[float]:
        return [
            sum(other < value for other in values)
            + (sum(other == value for other in values) + 1) / 2
            for value in values
        ]

    x, y = ranks(a), ranks(b)
    middle = (len(a) + 1) / 2
    covariance = sum((i - middle) * (j - middle) for i, j in zip(x, y, strict=True))
    spread = math.sqrt(sum((i - middle) ** 2 for i in x) * sum((j - middle) ** 2 for j in y))
    return covariance / spread


def imputed(image: Tensor, visible: Tensor) -> Tensor:
    """ROAD's equations written out, and solved whole: image (3, H, W), visible (H, W) bool."""
    height, width = visible.shape
    pixels = [(i, j) for i in range(height) for j in range(width)]
    matrix = torch.zeros(len(pixels), len(pixels), dtype=torch.float64)
    right = torch.zeros(len(pixels), 3, dtype=torch.float64)
    for row, (i, j) in enumerate(pixels):
        if visible[i, j]:
            matrix[row, row] = 1
            right[row] = image[:, i, j].double()
            continue
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                near = (i + down, j + across)
                if near != (i, j) and near in pixels:
                    weight = 1 / 6 if 0 in (down, across) else 1 / 12
                    matrix[row, row] += weight
                    matrix[row, pixels.index(near)] = -weight
    return torch.linalg.solve(matrix, right).T.reshape(3, height, width)


def mean_between(fractions: list[float], values: list[float], low: float, high: float) -> float:
    """The mean of a broken line from low to high, in ten thousand small steps."""
    steps = 10_000
    total = 0.0
    for step in range(steps):
        at = low + (step + 0.5) * (high - low) / steps
        total += read(fractions, values, at)
    return total / steps


def read(fractions: list[float], values: list[float], at: float) -> float:
    """A broken line at one place."""
    for left, right, a, b in zip(fractions, fractions[1:], values, values[1:], strict=False):
        if left <= at <= right:
            return a + (b - a) * (at - left) / (right - left)
    raise ValueError(at)


def total_variation(p: list[float], q: list[float]) -> float:
    """`1/2 sum_c |p_c - q_c|`."""
    return sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2


def correlation(a: list[float], b: list[float]) -> float:
    """Pearson's, by its definition."""
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    together = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    squares = [sum((x - mean) ** 2 for x in of) for of, mean in ((a, mean_a), (b, mean_b))]
    return together / math.sqrt(squares[0] * squares[1])
