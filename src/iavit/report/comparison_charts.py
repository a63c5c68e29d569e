"""Explainers compared: ranked with their intervals, and by what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from iavit.report.charts import CURRENT, LETTERS, PAPER, SUBJECT, canvas, inline, tick_number

# Points.
WIDTH, NAMES, RIGHT, ROW = 360, 146, 12, 17  # the chart, its names, its margin, a row's height
WORD = 92  # the longest word on a row

SCATTER = (640, 400)  # points
RADII = (11, 17, 24, 32, 42, 54)  # points between a dot and its number
DOT, NUMBER = 10, 14  # points from a number's middle to that of a dot, and of another number

Point = tuple[float, float]


@dataclass(frozen=True)
class Ranked:
    """A row of the ranking: a mean with its interval, and a word where it is only noise."""

    name: str
    mean: float
    low: float
    high: float
    subject: bool = False
    word: str = ""


def ranking(rows: Sequence[Ranked], *, name: str, label: str, x_label: str, far: str = "") -> str:
    """A dot on its interval a row, in the order given, as an inline `<svg>`.

    name, label: as in `charts.inline`. A dot with a word beside it is hollow.
    far: the row that knows nothing: where it is so far from the others that their intervals
        would be too short to see, its figure stands at the edge, not drawn to scale.
    """
    height = 44 + ROW * len(rows)
    figure, axes = canvas((WIDTH, height), left=NAMES, right=RIGHT, top=6, bottom=38)
    near = [row for row in rows if row.name != far] or rows
    start, end = min(row.low for row in near), max(row.high for row in near)
    margin = 0.06 * (end - start) or 0.5
    axes.set_xlim(start - margin, end + margin)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for at, row in enumerate(rows):
        left, right = axes.get_xlim()
        if row.low < left or row.high > right:
            _off_scale(axes, row, at)
        else:
            _on_scale(axes, row, at)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=LETTERS)
    for text, row in zip(axes.get_yticklabels(), rows, strict=True):
        text.set(color=SUBJECT if row.subject else CURRENT)
        text.set_fontweight("bold" if row.subject else "normal")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(tick_number))
    axes.set_xlabel(x_label, fontsize=LETTERS, color=CURRENT)
    return inline(figure, name, label)


def _on_scale(axes: Axes, row: Ranked, at: int) -> None:
    colour = SUBJECT if row.subject else CURRENT
    axes.plot(
        [row.low, row.high], [at, at], color=colour, linewidth=5, alpha=0.3, solid_capstyle="butt"
    )
    axes.plot(
        [row.mean],
        [at],
        marker="o",
        markersize=4.5,
        markeredgecolor=colour,
        markerfacecolor=PAPER if row.word else colour,
        markeredgewidth=1.3,
    )
    if row.word:
        _beside(axes, row, at)


def _off_scale(axes: Axes, row: Ranked, at: int) -> None:
    """A row whose dot lies outside of the axis: an arrow that way, and its mean."""
    lower = row.low < axes.get_xlim()[0]
    mean = tick_number(round(row.mean, 3), None)
    axes.annotate(
        f"\N{LEFTWARDS ARROW} {mean}" if lower else f"{mean} \N{RIGHTWARDS ARROW}",
        (0.0 if lower else 1.0, at),
        xycoords=("axes fraction", "data"),
        xytext=(4 if lower else -4, 0),
        textcoords="offset points",
        ha="left" if lower else "right",
        va="center_baseline",
        size=LETTERS - 1.5,
        color=CURRENT,
    )


def _beside(axes: Axes, row: Ranked, at: int) -> None:
    """The row's word, on the side of its interval where it has room."""
    start, end = axes.get_xlim()
    unit = (end - start) / (WIDTH - NAMES - RIGHT)  # a point, on the axis
    left = row.low - WORD * unit > start
    axes.annotate(
        row.word,
        (row.low if left else row.high, at),
        xytext=(-7 if left else 7, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center_baseline",
        size=LETTERS - 1.5,
        color=CURRENT,
        alpha=0.8,
    )


@dataclass(frozen=True)
class Priced:
    """A dot: what an explainer costs, in milliseconds an image, and how faithful it is."""

    name: str
    milliseconds: float
    faithfulness: float
    subject: bool = False


def scatter(
    dots: Sequence[Priced], baseline: tuple[str, float] | None, *, name: str, label: str
) -> str:
    """Milliseconds an image, on a logarithmic axis, against faithfulness, as an inline `<svg>`.

    dots: with a cost above 0, numbered from 1 in their order. name, label: as in `charts.inline`.
    baseline: what knows nothing, and what it reaches all the same: a line, as its cost says
        nothing.
    """
    figure, axes = canvas(SCATTER, left=52, right=16, top=10, bottom=42)
    axes.set_xscale("log")
    costs = [dot.milliseconds for dot in dots]
    heights = [dot.faithfulness for dot in dots] + ([baseline[1]] if baseline else [])
    span = max(heights) - min(heights) or 1.0
    axes.set_xlim(min(costs) / 2, max(costs) * 2)
    axes.set_ylim(min(heights) - 0.1 * span, max(heights) + 0.1 * span)
    few = max(costs) < 100 * min(costs)  # powers of ten alone could be one or none
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=8))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(tick_number))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(tick_number))
    axes.set_xlabel("milliseconds an image", fontsize=LETTERS, color=CURRENT)
    axes.set_ylabel("insertion minus deletion", fontsize=LETTERS, color=CURRENT)
    if baseline is not None:
        _baseline(axes, *baseline)
    places = [_place(axes, dot) for dot in dots]
    numbers = number_places(places)
    for number, (dot, place, at) in enumerate(zip(dots, places, numbers, strict=True), 1):
        _draw(axes, dot, str(number), (at[0] - place[0], at[1] - place[1]))
    return inline(figure, name, label)


def number_places(places: Sequence[Point]) -> list[Point]:
    """Where each dot's number stands, so that it is on no dot and on no other number.

    places: the dots, in points. The nearest free place of some rings around the dot, or where all
    are taken the one with the most room.
    """
    found: list[Point] = []
    for x, y in places:
        ring = [
            (x + radius * math.cos(math.radians(angle)), y + radius * math.sin(math.radians(angle)))
            for radius in RADII
            for angle in range(90, 450, 30)
        ]

        def room(at: Point) -> float:
            numbers = min((math.dist(at, other) for other in found), default=math.inf)
            return min(numbers - NUMBER, min(math.dist(at, other) for other in places) - DOT)

        found.append(next((at for at in ring if room(at) >= 0), max(ring, key=room)))
    return found


def _place(axes: Axes, dot: Priced) -> Point:
    """A dot in points from the lower left corner of the drawing."""
    across, up = axes.transData.transform((dot.milliseconds, dot.faithfulness))
    return 72 * float(across) / axes.figure.dpi, 72 * float(up) / axes.figure.dpi


def _draw(axes: Axes, dot: Priced, number: str, offset: Point) -> None:
    """The dot, its number, and a thin line to it where it stands apart."""
    colour = SUBJECT if dot.subject else CURRENT
    place = (dot.milliseconds, dot.faithfulness)
    axes.plot(*([end] for end in place), "o", markersize=7 if dot.subject else 5, color=colour)
    apart = math.hypot(*offset) > RADII[0] + 1
    axes.annotate(
        number,
        place,
        xytext=offset,
        textcoords="offset points",
        ha="center",
        va="center_baseline",
        size=LETTERS,
        color=colour,
        weight="bold" if dot.subject else "normal",
        arrowprops={
            "arrowstyle": "-",
            "color": colour,
            "alpha": 0.5,
            "linewidth": 0.7,
            "shrinkB": 3,
        }
        if apart
        else None,
    )


def _baseline(axes: Axes, name: str, value: float) -> None:
    """A dotted line with its name at its right end."""
    axes.axhline(value, color=CURRENT, linestyle=(0, (1, 2)), linewidth=1.2, alpha=0.8)
    axes.annotate(
        name,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        size=LETTERS,
        color=CURRENT,
        parse_math=False,
    )
