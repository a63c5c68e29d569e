"""`digits`: real handwritten digits planted in clutter, with the pixels that decide the label.

Each scene is an RGB picture with one whole digit, enlarged, somewhere; the rest is noise and
fragments of other digits in the same sizes and colours, so that strokes alone say nothing.
The scans are scikit-learn's (UCI Optical Recognition of Handwritten Digits, 1,797 of 8 x 8),
which come with the package. Scenes are drawn in memory from a seed.

With a shortcut, a small coloured mark is planted as well, off the digit. Its colour tells the
label in training and nothing at test: the ground truth for "did the model cheat, and does its
explanation show it".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from iavit.data.images import Split

SIZE = 32  # pixels a side
MEAN, STD = (0.27, 0.27, 0.27), (0.21, 0.21, 0.21)  # of the training scenes, of a range of 1
CLASSES = tuple("0123456789")
SCENES: dict[Split, int] = {"train": 80_000, "val": 500, "test": 1_000}
FRAGMENTS = 5
BACKGROUND, INK = (0.0, 0.3), (0.6, 1.0)  # each channel, of a range of 1
NOISE = 0.05  # standard deviation
CHUNK = 1_000  # scenes drawn at once, which bounds the memory
MARK = 4  # pixels a side of the shortcut's mark
# One a class. Each has a channel at 0 and one at 255 or near it, as neither clutter (bright in
# all channels) nor background (dark in all) has.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "orange": (255, 128, 0),
    "yellow": (255, 255, 0),
    "lime": (128, 255, 0),
    "green": (0, 160, 0),
    "cyan": (0, 255, 255),
    "azure": (0, 128, 255),
    "blue": (0, 0, 255),
    "violet": (128, 0, 255),
    "magenta": (255, 0, 255),
}


@dataclass(frozen=True)
class Scenes:
    """images (n, 3, H, W) uint8, labels (n,) int64, evidence (n, H, W) bool.

    Where a shortcut is planted: shortcut (n, H, W) bool, the mark; colours (n,) int64, its
    place in `COLOURS`.
    """

    images: Tensor
    labels: Tensor
    evidence: Tensor
    shortcut: Tensor | None = None
    colours: Tensor | None = None


def sources(split: Split) -> np.ndarray:
    """Indices of the scans that a split draws from: 70, 10 and 20 in a hundred of each class.

    The division is fixed: it does not depend on the seed of a run, so no model is ever tested
    on a scan that another run trained on.
    """
    from sklearn.datasets import load_digits  # a second, which names need not wait for

    labels = load_digits().target
    order = np.random.default_rng(0).permutation(len(labels))
    chosen = []
    for label in range(len(CLASSES)):
        members = order[labels[order] == label]
        first, second = round(0.70 * len(members)), round(0.80 * len(members))
        bounds = {"train": (0, first), "val": (first, second), "test": (second, len(members))}
        chosen.append(members[slice(*bounds[split])])
    return np.sort(np.concatenate(chosen))


def draw_scenes(split: Split, count: int, seed: int, shortcut: float = 0.0) -> Scenes:
    """`count` scenes of a split; the same arguments give the same scenes, bit for bit.

    shortcut: in this share of training and validation scenes the mark has the colour of the
        label, in the others any other one; at test its colour is drawn without the label.
        At 0 there is no mark. The mark is all that it changes in a scene.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = torch.from_numpy(sources(split))
    scans = torch.from_numpy(digits.images).float()[chosen] / 16  # (S, 8, 8) ink from 0 to 1
    labels = torch.from_numpy(digits.target).long()[chosen]
    offset = {"train": 0, "val": 1, "test": 2}[split]
    generator = torch.Generator().manual_seed(3 * seed + offset)
    chunks = [
        _draw_chunk(scans, labels, min(CHUNK, count - start), generator)
        for start in range(0, count, CHUNK)
    ]
    scenes = Scenes(
        torch.cat([chunk.images for chunk in chunks]),
        torch.cat([chunk.labels for chunk in chunks]),
        torch.cat([chunk.evidence for chunk in chunks]),
    )
    if not shortcut:
        return scenes
    # A stream of its own, so that the scenes below the marks stay what they are.
    marks = torch.Generator().manual_seed(0x6D61726B ^ (3 * seed + offset))
    return _with_marks(scenes, None if split == "test" else shortcut, marks)


def _with_marks(scenes: Scenes, agreement: float | None, generator: torch.Generator) -> Scenes:
    """Plant a mark into each scene, off its evidence.

    agreement: share of marks in the label's colour, or None for colours drawn without it.
    """
    count, classes = len(scenes.labels), len(CLASSES)
    others = torch.randint(1, classes, (count,), generator=generator)
    colours = (scenes.labels + others) % classes
    if agreement is None:
        colours = torch.randint(classes, (count,), generator=generator)
    else:
        agrees = torch.rand(count, generator=generator) < agreement
        colours = torch.where(agrees, scenes.labels, colours)
    shortcut = torch.cat(
        [_mark_masks(part, generator) for part in scenes.evidence.split(CHUNK)]
    )  # (n, H, W)
    palette = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)
    images = torch.where(shortcut[:, None], palette[colours][:, :, None, None], scenes.images)
    return Scenes(images, scenes.labels, scenes.evidence, shortcut, colours)


def _mark_masks(evidence: Tensor, generator: torch.Generator) -> Tensor:
    """(n, H, W) bool, a square of `MARK` pixels a side for each scene, anywhere off its evidence.

    There always is room: no box is wider than 18 pixels, so one of its sides has 7 or more free.
    """
    free = F.max_pool2d(evidence[:, None].float(), MARK, stride=1)[:, 0] == 0  # of top left corners
    corners = torch.multinomial(free.flatten(1).float(), 1, generator=generator)
    top, left = corners // free.shape[2], corners % free.shape[2]  # (n, 1)
    pixels = torch.arange(SIZE)
    rows = (pixels >= top) & (pixels < top + MARK)  # (n, H)
    columns = (pixels >= left) & (pixels < left + MARK)
    return rows[:, :, None] & columns[:, None, :]


def _draw_chunk(scans: Tensor, labels: Tensor, count: int, generator: torch.Generator) -> Scenes:
    planted = torch.randint(len(scans), (count,), generator=generator)
    ink = _place(scans[planted], generator, inside=True)
    evidence = _tight_boxes(ink[:, 0] > 0.3)
    elsewhere = (~evidence)[:, None].float()  # (n, 1, H, W)

    def colours(low: float, high: float) -> Tensor:
        return _uniform(generator, (count, 3, 1, 1), low, high)

    canvas = colours(*BACKGROUND) + NOISE * torch.randn(count, 3, SIZE, SIZE, generator=generator)
    for _ in range(FRAGMENTS):
        torn = scans[torch.randint(len(scans), (count,), generator=generator)]
        torn = _place(torn * _windows(count, generator), generator, inside=False)
        canvas = torch.lerp(canvas, colours(*INK), torn * elsewhere)
    canvas = torch.lerp(canvas, colours(*INK), ink)
    images = (canvas.clamp(0, 1) * 255).round().to(torch.uint8)
    return Scenes(images, labels[planted], evidence)


def _uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def _windows(count: int, generator: torch.Generator) -> Tensor:
    """(n, 8, 8) masks of random rectangles, 3 to 5 of 8 cells a side: what a fragment keeps."""

    def interval() -> Tensor:
        length = torch.randint(3, 6, (count, 1), generator=generator)
        start = (torch.rand(count, 1, generator=generator) * (9 - length)).floor()
        cells = torch.arange(8)
        return (cells >= start) & (cells < start + length)

    return (interval()[:, :, None] & interval()[:, None, :]).float()


def _place(scans: Tensor, generator: torch.Generator, *, inside: bool) -> Tensor:
    """(n, 8, 8) scans to ink on the canvas, (n, 1, H, W): enlarged, turned and moved at random.

    A scan becomes 16 to 17.3 pixels a side and turns up to 12 degrees; no scan fills its square,
    and the tight box around its ink covers less than a third of the canvas. It stays `inside`,
    or its centre may lie anywhere.
    """
    count = len(scans)
    side = _uniform(generator, (count,), 16.0, 17.3)
    angle = _uniform(generator, (count,), -1, 1) * math.radians(12)
    cosine, sine = angle.cos(), angle.sin()
    half_extent = side * (cosine + sine.abs()) / 2
    # Pixels that the centre may move either way.
    room = SIZE / 2 - half_extent if inside else torch.full_like(side, SIZE / 2)
    centre_x = _uniform(generator, (count,), -1, 1) * room
    centre_y = _uniform(generator, (count,), -1, 1) * room
    # From canvas coordinates (-1 to 1) to the scan's: move, turn, shrink.
    zoom = SIZE / side
    shift_x, shift_y = centre_x / (SIZE / 2), centre_y / (SIZE / 2)
    rows = torch.stack(
        [
            torch.stack([cosine, sine, -(cosine * shift_x + sine * shift_y)], dim=-1),
            torch.stack([-sine, cosine, -(-sine * shift_x + cosine * shift_y)], dim=-1),
        ],
        dim=1,
    )  # (n, 2, 3)
    grid = F.affine_grid(rows * zoom[:, None, None], [count, 1, SIZE, SIZE], align_corners=False)
    return F.grid_sample(scans[:, None], grid, align_corners=False)


def _tight_boxes(inked: Tensor) -> Tensor:
    """(n, H, W) bool to the smallest upright box around each, as masks of the same shape."""

    def spanned(line: Tensor) -> Tensor:  # from the first to the last True
        return line.cummax(dim=-1).values & line.flip(-1).cummax(dim=-1).values.flip(-1)

    rows, columns = inked.any(dim=2).int(), inked.any(dim=1).int()
    return (spanned(rows)[:, :, None] & spanned(columns)[:, None, :]).bool()
