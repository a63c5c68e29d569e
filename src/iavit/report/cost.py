"""What an explainer costs beside how faithful it is; every dot has its name, none on another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from iavit.report.charts import CURRENT, SERIES, canvas, inline, tick_number

# Points.
SCATTER = (640, 400)
LETTER = 0.56  # a letter's width over the font's size, rather too wide than too narrow
SIZE = 11  # letters
FRAME = (52.0, 46.0, SCATTER[0] - 4.0, SCATTER[1] - 4.0)  # left, bottom, right, top of labels
DOT, ALOOF = 5, 9  # half the side of what a dot keeps free of its own name, and of others

SUBJECT = next(iter(SERIES))  # the colour of the explainer that the page is about

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Priced:
    """A dot: what an explainer costs, in milliseconds an image, and how faithful it is."""

    name: str
    milliseconds: float
    faithfulness: float
    subject: bool = False


def cost(
    dots: Sequence[Priced], baseline: tuple[str, float] | None, *, name: str, label: str
) -> str:
    """Milliseconds an image, on a logarithmic axis, against faithfulness; every dot has its name.

    dots: with a cost above 0. baseline: what knows nothing, and what it reaches all the same:
        a line, since its cost says nothing.
    """
    figure, axes = canvas(SCATTER, left=48, right=16, top=10, bottom=42)
    axes.set_xscale("log")
    costs = [dot.milliseconds for dot in dots]
    heights = [dot.faithfulness for dot in dots] + ([baseline[1]] if baseline else [])
    span = max(heights) - min(heights) or 1.0
    axes.set_xlim(min(costs) / 4, max(costs) * 2)  # room for names at the cheap end
    axes.set_ylim(min(heights) - 0.1 * span, max(heights) + 0.1 * span)
    axes.xaxis.set_major_locator(LogLocator(numticks=8))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(tick_number))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(tick_number))
    axes.set_xlabel("milliseconds an image", fontsize=SIZE, color=CURRENT)
    axes.set_ylabel("insertion minus deletion", fontsize=SIZE, color=CURRENT)
    places = [_place(axes, dot.milliseconds, dot.faithfulness) for dot in dots]
    taken = [_baseline(axes, *baseline)] if baseline else []
    for dot in dots:
        colour = SUBJECT if dot.subject else CURRENT
        axes.plot(
            [dot.milliseconds],
            [dot.faithfulness],
            marker="o",
            markersize=7 if dot.subject else 5,
            color=colour,
        )
    boxes = label_boxes(places, [dot.name for dot in dots], taken)
    for dot, place, box in zip(dots, places, boxes, strict=True):
        _name(axes, dot, place, box)
    return inline(figure, SCATTER, name, label)


def label_boxes(places: Sequence[Point], names: Sequence[str], taken: Sequence[Box]) -> list[Box]:
    """Where each dot's name stands: near it and no other, on no dot and no other name.

    places: the dots, in points from the lower left corner. taken: what else must stay free.
    One name is placed after the other, from each of the four sides in turn; the best of the four
    results has the fewest lines across names, and then the nearest names.
    """
    sides = [[x for x, _ in places], [-x for x, _ in places], [y for _, y in places]]
    sides.append([-y for _, y in places])
    orders = [sorted(range(len(places)), key=side.__getitem__) for side in sides]
    return min(
        (_in_order(order, places, names, taken) for order in orders),
        key=lambda boxes: _untidy(places, boxes),
    )


def _in_order(
    order: Sequence[int], places: Sequence[Point], names: Sequence[str], taken: Sequence[Box]
) -> list[Box]:
    """Each name where it is best beside those before it."""
    found: dict[int, Box] = {}
    lines: list[Box] = []
    for index in order:
        dots = [_around(*place, DOT if i == index else ALOOF) for i, place in enumerate(places)]
        written = [*taken, *found.values()]
        width = LETTER * SIZE * len(names[index])
        found[index] = _free(places[index], width, [*written, *dots], written, lines)
        lines += _line_boxes(places[index], found[index])
    return [found[index] for index in range(len(places))]


def _untidy(places: Sequence[Point], boxes: Sequence[Box]) -> tuple[int, float]:
    """How many names are crossed by another's line, and how far names are from their dots."""
    lines = [_line_boxes(place, box) for place, box in zip(places, boxes, strict=True)]
    crossed = sum(
        any(_any_touch(line, [box]) for line in lines if line is not own)
        for own, box in zip(lines, boxes, strict=True)
    )
    apart = (math.dist(place, _end(place, box)) for place, box in zip(places, boxes, strict=True))
    return crossed, sum(apart)


def _place(axes: Axes, x: float, y: float) -> Point:
    """A point of the axes in points from the lower left corner of the chart."""
    across, up = axes.transData.transform((x, y)) / axes.figure.dpi * 72
    return float(across), float(up)


def _around(x: float, y: float, half: int) -> Box:
    return (x - half, y - half, x + half, y + half)


def _baseline(axes: Axes, name: str, value: float) -> Box:
    """A dotted line with its name at its right end; returns where the name stands."""
    axes.axhline(value, color=CURRENT, linestyle=(0, (1, 2)), linewidth=1.2, alpha=0.8)
    right, up = SCATTER[0] - 18.0, _place(axes, axes.get_xlim()[1], value)[1]
    axes.annotate(
        name,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        size=SIZE,
        color=CURRENT,
        parse_math=False,
    )
    return (right - LETTER * SIZE * len(name), up, right, up + SIZE + 5)


def _free(
    place: Point,
    width: float,
    taken: Sequence[Box],
    written: Sequence[Box],
    lines: Sequence[Box],
) -> Box:
    """The nearest box of a label's size in which nothing stands, its line across no writing.

    In a crowd a line may have to cross some; a label never does. Where all is full, the first
    box: a label that covers another is better than none.
    """
    boxes = list(_boxes(place, width))
    inside = [box for box in boxes if _within(box, FRAME)] or boxes
    free = [box for box in inside if not _any_touch([box], taken)]
    clear = (
        box
        for box in free
        if not _any_touch([box], lines) and not _any_touch(_line_boxes(place, box), written)
    )
    return next(clear, (free or inside)[0])


def _boxes(place: Point, width: float) -> Iterator[Box]:
    """Boxes around a dot, the nearest first: beside, above and below, then in wider rings."""
    x, y = place
    tall = SIZE + 2.0
    for distance in (0, 6, 12, 20, 30, 42, 56, 72, 90, 110, 135, 165, 200, 240):
        for angle in (0, 180, 90, 270, *range(15, 360, 15)):
            toward_x, toward_y = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            # The box's nearest side lies at this distance from the dot's own box.
            middle_x = x + toward_x * (DOT + 2 + distance + width / 2)
            middle_y = y + toward_y * (DOT + 1 + distance + tall / 2)
            yield (
                middle_x - width / 2,
                middle_y - tall / 2,
                middle_x + width / 2,
                middle_y + tall / 2,
            )


def _end(place: Point, box: Box) -> Point:
    """The point of a box that is nearest to a place."""
    (x, y), (left, bottom, right, top) = place, box
    return min(max(x, left), right), min(max(y, bottom), top)


def _line_boxes(place: Point, box: Box) -> list[Box]:
    """What a line from a dot to its distant label covers, as small boxes; none for a near one."""
    end = _end(place, box)
    length = math.dist(place, end)
    if length < 2 * DOT + 2:
        return []
    steps = int(length / 4)
    points = [
        tuple(a + (b - a) * step / steps for a, b in zip(place, end, strict=True))
        for step in range(1, steps)
    ]
    return [(x - 1, y - 1, x + 1, y + 1) for x, y in points if math.dist(place, (x, y)) > DOT]


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _any_touch(some: Sequence[Box], others: Sequence[Box]) -> bool:
    return any(_touch(a, b) for a in some for b in others)


def _within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _name(axes: Axes, dot: Priced, place: Point, box: Box) -> None:
    """A dot's name in its box, and a thin line to it where it stands apart."""
    (x, y), (left, bottom, right, top) = place, box
    colour = SUBJECT if dot.subject else CURRENT
    # A browser's letters are narrower than the box: they keep to the side of the dot.
    side = "left" if left >= x else "right" if right <= x else "center"
    across = {"left": left, "right": right, "center": (left + right) / 2}[side]
    width, height = SCATTER
    if _line_boxes(place, box):
        end = _end(place, box)
        axes.plot(
            [x / width, end[0] / width],
            [y / height, end[1] / height],
            transform=axes.figure.transFigure,
            color=colour,
            linewidth=0.7,
            alpha=0.5,
            clip_on=False,
        )
    axes.figure.text(
        across / width,
        (bottom + top) / 2 / height,
        dot.name,
        ha=side,
        va="center_baseline",
        size=SIZE,
        color=colour,
        weight="bold" if dot.subject else "normal",
        parse_math=False,
    )
