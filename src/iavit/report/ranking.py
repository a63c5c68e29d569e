"""Explainers ranked, each a dot on its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from iavit.report.charts import CURRENT, PAPER, SERIES, canvas, inline, tick_number

# Points.
WIDTH, NAMES, RIGHT, ROW = 360, 146, 12, 17  # the chart, its names, its margin, a row's height
WORD = 92  # the longest word on a row
SIZE = 11  # letters

SUBJECT = next(iter(SERIES))  # the colour of the explainer that the page is about


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

    name, label: as in `charts.chart`. A dot with a word beside it is hollow.
    far: the row that knows nothing: where it is so far from the others that their intervals
        would be too short to see, it is told at the edge and not drawn to scale.
    """
    height = 44 + ROW * len(rows)
    figure, axes = canvas((WIDTH, height), left=NAMES, right=RIGHT, top=6, bottom=38)
    near = [row for row in rows if row.name != far] or rows
    start, end = min(row.low for row in near), max(row.high for row in near)
    margin = 0.06 * (end - start) or 0.5
    axes.set_xlim(start - margin, end + margin)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for at, row in enumerate(rows):
        if row.low < start or row.high > end:
            _told(axes, row, at)
        else:
            _drawn(axes, row, at)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], parse_math=False)
    axes.tick_params(axis="y", length=0, labelsize=SIZE)
    for text, row in zip(axes.get_yticklabels(), rows, strict=True):
        text.set(color=SUBJECT if row.subject else CURRENT)
        text.set_fontweight("bold" if row.subject else "normal")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(tick_number))
    axes.set_xlabel(x_label, fontsize=SIZE, color=CURRENT)
    return inline(figure, (WIDTH, height), name, label)


def _drawn(axes: Axes, row: Ranked, at: int) -> None:
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


def _told(axes: Axes, row: Ranked, at: int) -> None:
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
        size=SIZE - 1.5,
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
        size=SIZE - 1.5,
        color=CURRENT,
        alpha=0.8,
    )
