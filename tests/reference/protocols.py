"""Published protocols, pixel by pixel, one image and one step at a time, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

Predict = Callable[[Tensor], Tensor]  # (1, 3, H, W) to logits (1, C)


def ranked(heat: Tensor) -> list[tuple[int, int]]:
    """The pixels of a map (H, W), the most important first."""
    pixels = [(i, j) for i in range(heat.shape[0]) for j in range(heat.shape[1])]
    return sorted(pixels, key=lambda at: -float(heat[at]))


def walked(
    predict: Predict, start: Tensor, finish: Tensor, order: list[tuple[int, int]], asked: int
) -> list[float]:
    """The class's probability while a row's worth of pixels at a time changes over."""
    now = start.clone()
    width = start.shape[2]
    values = [float(predict(now[None])[0].softmax(dim=0)[asked])]
    for at in range(0, len(order), width):
        for i, j in order[at : at + width]:
            now[:, i, j] = finish[:, i, j]
        values.append(float(predict(now[None])[0].softmax(dim=0)[asked]))
    return values


def rise_area(values: list[float]) -> float:
    return (sum(values) - values[0] / 2 - values[-1] / 2) / (len(values) - 1)


def rise_blur(image: Tensor) -> Tensor:
    """Each pixel (3, H, W) as a weighted sum over its 11 x 11 neighbours, 0 beyond the border."""
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = gaussian_filter(impulse, 5)
    blurred = torch.zeros_like(image)
    _, height, width = image.shape
    around = torch.nn.functional.pad(image, (5, 5, 5, 5))
    for di in range(11):
        for dj in range(11):
            blurred += float(kernel[di, dj]) * around[:, di : di + height, dj : dj + width]
    return blurred


def chefer_hits(
    predict: Predict, image: Tensor, heat: Tensor, label: int, *, negative: bool
) -> list[float]:
    """Whether the label is predicted, with 10, ..., 90 % of the pixels black (-1)."""
    order = ranked(-heat if negative else heat)
    hits = []
    for tenth in range(1, 10):
        now = image.clone()
        for i, j in order[: int(len(order) * (tenth / 10))]:
            now[:, i, j] = -1.0
        hits.append(float(int(predict(now[None])[0].argmax()) == label))
    return hits
