"""The figure of `iavit explain`, and charts that follow the page's light or dark colours.

Drawn on `Figure` objects alone: pyplot keeps global state, which a server may not.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from PIL import Image

from iavit.report.pictures import blend, painted, resized

# The overlay figure, in pixels.
WIDTH, HEIGHT, DPI = 1000, 440, 100
MARGIN, GAP, PANEL, TOP = 24, 26, 290, 108
INK, QUIET = "#1b1b1b", "#5c5c5c"
BRANCHES = {"predictor": "#2b66d9", "interpreter": "#8a2f0b"}

# Charts, in points. The colours stand for what the page says, and are replaced in the SVG.
CHART = (360, 224)
CURRENT = "#010203"
SERIES = {f"#0a0b{number:02x}": f"var(--series-{number})" for number in range(1, 7)}
RANGE_FOR_LOGARITHM = 20  # a loss that falls by more is drawn on a logarithmic axis


def overlay_figure(
    picture: Image.Image, heat: np.ndarray, signed: bool, facts: dict[str, Any]
) -> bytes:
    """PNG of the picture, the map over it, and both branches' most probable classes.

    picture: RGB, square. heat: (h, w).
    facts: `predictor` and `interpreter`, lists of `{"class", "probability"}`, most probable
        first; `agree` and `explainer`.
    """
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    first, second = facts["predictor"][0], facts["interpreter"][0]
    predicted = f"Predicted: {_short(first['class'], 40)} ({_percent(first['probability'])})"
    _write(figure, MARGIN, 36, predicted, 15, weight="bold")
    told = "agrees" if facts["agreement"] else f"disagrees: it says {_short(second['class'], 34)}"
    told = f"The interpreter {told} ({_percent(second['probability'])}). "
    _write(figure, MARGIN, 63, told + f"Explained by {facts['explainer']}.", 11.5)
    shown = {
        "image": resized(picture, PANEL),
        "map over the image in grey": blend(picture, heat, signed, PANEL),
    }
    for number, (title, panel) in enumerate(shown.items()):
        left = MARGIN + number * (PANEL + GAP)
        _write(figure, left, TOP - 10, title, 10.5, color=QUIET)
        axes = _axes(figure, left, TOP, PANEL, PANEL)
        axes.imshow(np.asarray(panel), interpolation="nearest", aspect="auto")
    _scale(figure, MARGIN + PANEL + GAP, TOP + PANEL + 10, signed)
    _bars(figure, MARGIN + 2 * (PANEL + GAP), facts)
    with warnings.catch_warnings(), io.BytesIO() as file:
        # A class name in a script that the font lacks is drawn as boxes: no reason for noise.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes without a frame, placed in pixels from the upper left corner."""
    axes: Axes = figure.add_axes(
        (left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT)
    )
    axes.set_axis_off()
    return axes


def _write(figure: Figure, left: float, base: float, text: str, size: float, **style: Any) -> None:
    """A line of text on a base line in pixels; `$` and the like are no formulas."""
    style.setdefault("color", INK)
    figure.text(left / WIDTH, 1 - base / HEIGHT, text, size=size, parse_math=False, **style)


def _scale(figure: Figure, left: float, top: float, signed: bool) -> None:
    """What the colours of the map mean: a strip between two words."""
    low, high = ("against", "for") if signed else ("less", "more")
    start, end = left + PANEL / 4, left + 3 * PANEL / 4
    ramp = np.linspace(-1 if signed else 0, 1, PANEL)[None]  # (1, PANEL)
    strip = painted(np.full((1, 1, 1), 0.5), ramp, signed)
    _axes(figure, start, top, end - start, 9).imshow(strip, aspect="auto")
    _write(figure, start - 8, top + 9, low, 9.5, ha="right", color=QUIET)
    _write(figure, end + 8, top + 9, high, 9.5, color=QUIET)


def _bars(figure: Figure, left: float, facts: dict[str, Any]) -> None:
    """Both branches' probability of each class that either ranks among its first."""
    probabilities = [
        {entry["class"]: entry["probability"] for entry in facts[branch]} for branch in BRANCHES
    ]
    names = list(dict.fromkeys(name for of in probabilities for name in of))
    width = WIDTH - MARGIN - left
    block = min(72, (PANEL + 28) / len(names))  # of one class: its name, two bars, a gap
    tall = min(15, (block - 22) / 2)
    for number, branch in enumerate(BRANCHES):
        at = left + number * width / 2
        _bar(figure, at, TOP - 19, 10, 10, branch)
        _write(figure, at + 16, TOP - 10, branch, 10.5, color=QUIET)
    for number, name in enumerate(names):
        top = TOP + 6 + number * block
        _write(figure, left, top + 11, _short(name, 34), 10.5)
        for row, (branch, of) in enumerate(zip(BRANCHES, probabilities, strict=True)):
            length = (width - 60) * of.get(name, 0.0)
            under = top + 17 + row * (tall + 2)
            _bar(figure, left, under, max(length, 1), tall, branch)
            value = _percent(of[name]) if name in of else f"not among its first {len(of)}"
            _write(figure, left + length + 6, under + tall / 2, value, 9, va="center_baseline")


def _bar(figure: Figure, left: float, top: float, width: float, height: float, branch: str) -> None:
    """A bar in the branch's colour; the interpreter's is hatched, to tell them apart without."""
    hatch, face = ("/////", "white") if branch == "interpreter" else (None, BRANCHES[branch])
    bar = Rectangle(
        (0, 0), 1, 1, facecolor=face, edgecolor=BRANCHES[branch], hatch=hatch, linewidth=2
    )
    _axes(figure, left, top, width, height).add_patch(bar)


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f} %"


def _short(text: str, length: int) -> str:
    """A name on one line, cut where it is too long for its place."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


@dataclass(frozen=True)
class Style:
    """How a line looks, on the chart and in its key.

    colour: a sentinel of `SERIES`, or CURRENT. dash: lengths of strokes and gaps, in points.
    """

    colour: str = CURRENT
    dash: tuple[float, ...] = ()
    width: float = 1.6
    opacity: float = 1.0
    dots: bool = False

    @property
    def css(self) -> str:
        """The colour as the page says it."""
        return SERIES.get(self.colour, "currentColor")


@dataclass(frozen=True)
class Line:
    """One series: its name and style, and its points."""

    name: str
    style: Style
    x: Sequence[float]
    y: Sequence[float]


TRAIN = Style(width=1.0, opacity=0.5)
VALIDATION = Style(next(iter(SERIES)), width=2.0, dots=True)
_DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2, 2), (8, 2, 2, 2), (4, 1), (10, 3))
DISTINCT = tuple(Style(colour, dash) for colour, dash in zip(SERIES, _DASHES, strict=True))
BASELINE = Style(dash=(1, 2), opacity=0.8)
FAINT = Style(width=0.8, opacity=0.35)


def chart(
    lines: Sequence[Line], *, name: str, label: str, x_label: str, shares: tuple[bool, bool]
) -> str:
    """Lines over a common x axis as an inline `<svg>` in the page's own font and colours.

    name: a prefix for the identifiers inside, different for each chart of a page.
    label: what a reader who does not see it is told.
    shares: whether x and y are parts of 1, and shown from 0 to 100 %.
    """
    figure = Figure(figsize=(CHART[0] / 72, CHART[1] / 72))
    figure.patch.set_visible(False)
    axes: Axes = figure.add_axes((44 / CHART[0], 38 / CHART[1], 298 / CHART[0], 178 / CHART[1]))
    for line in lines:
        axes.plot(
            line.x,
            line.y,
            color=line.style.colour,
            linestyle=(0, [part / line.style.width for part in line.style.dash] or None),
            linewidth=line.style.width,
            alpha=line.style.opacity,
            marker="o" if line.style.dots or len(line.x) == 1 else None,
            markersize=2.5 * line.style.width**0.5,
        )
    _dress(axes, x_label, [value for line in lines for value in line.y], shares)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _inline(file.getvalue(), name, label)


def _dress(axes: Axes, x_label: str, values: list[float], shares: tuple[bool, bool]) -> None:
    """Axes, ticks and a light grid, all in the page's text colour."""
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=CURRENT, alpha=0.5)
    axes.grid(color=CURRENT, alpha=0.12, linewidth=0.6)
    axes.tick_params(labelsize=11, length=3, color=CURRENT, labelcolor=CURRENT)
    axes.set_xlabel(x_label, fontsize=11, color=CURRENT)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=not shares[0]))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if not shares[1] and values and max(values) > RANGE_FOR_LOGARITHM * min(values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    for axis, share in zip((axes.xaxis, axes.yaxis), shares, strict=True):
        axis.set_major_formatter(FuncFormatter(_tick_percent if share else _tick_number))
    if shares[0]:
        axes.set_xlim(-0.01, 1.01)
    if shares[1]:
        axes.set_ylim(-0.02, 1.02)


def _tick_percent(value: float, position: int | None) -> str:
    return f"{100 * value:.0f} %"


def _tick_number(value: float, position: int | None) -> str:
    return f"{value:,g}".replace("-", "\N{MINUS SIGN}")


def _inline(svg: str, name: str, label: str) -> str:
    """An SVG document to an element of a page: no prologue, own identifiers, the page's font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' id="', f' id="{name}-', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r" font-family: [^;\"]*;?", "", svg)
    for sentinel, colour in (SERIES | {CURRENT: "currentColor"}).items():
        svg = svg.replace(sentinel, colour)
    head = f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox='
    return re.sub(r"^<svg[^>]*", f'{head}"0 0 {CHART[0]} {CHART[1]}"', svg)
