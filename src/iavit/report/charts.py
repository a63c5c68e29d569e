"""Lines over an axis that follow the page's light or dark colours, and what all charts share.

Drawn on `Figure` objects alone: pyplot keeps global state, which a server may not.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

# Stand-ins, replaced in the SVG by what the page says of them.
CURRENT = "#010203"
PAPER = "#010204"  # what lies behind
SERIES = {f"#0a0b{number:02x}": f"var(--series-{number})" for number in range(1, 7)}
SUBJECT = next(iter(SERIES))  # the colour of the explainer that the page is about
LETTERS = 11  # points

CHART = (360, 224)  # points
RANGE_FOR_LOGARITHM = 20  # a loss that falls by more is drawn on a logarithmic axis
BAND = 0.16  # opacity of an interval around a line


@dataclass(frozen=True)
class Style:
    """How a line looks, on the chart and in its key.

    colour: a key of `SERIES`, or CURRENT. dash: lengths of strokes and gaps, in points.
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
    """One series: its name and style, its points, and the lower and upper ends of its band."""

    name: str
    style: Style
    x: Sequence[float]
    y: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None


TRAIN = Style(width=1.0, opacity=0.5)
VALIDATION = Style(next(iter(SERIES)), width=2.0, dots=True)
_DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2, 2), (8, 2, 2, 2), (4, 1), (10, 3))
DISTINCT = tuple(Style(colour, dash) for colour, dash in zip(SERIES, _DASHES, strict=True))
BASELINE = Style(dash=(1, 2), opacity=0.8)
FAINT = Style(width=0.8, opacity=0.35)


def line_chart(
    lines: Sequence[Line], *, name: str, label: str, x_label: str, shares: tuple[bool, bool]
) -> str:
    """Lines over a common x axis as an inline `<svg>`.

    name, label: as in `inline`.
    shares: whether x and y are parts of 1, and shown from 0 to 100 %.
    """
    figure, axes = canvas(CHART, left=44, right=18, top=8, bottom=38)
    for line in lines:
        if line.band is not None:
            axes.fill_between(line.x, *line.band, color=line.style.colour, alpha=BAND, linewidth=0)
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
    return inline(figure, name, label)


def _dress(axes: Axes, x_label: str, values: list[float], shares: tuple[bool, bool]) -> None:
    """Ticks and their labels, and a logarithmic axis where a loss falls far."""
    axes.set_xlabel(x_label, fontsize=LETTERS, color=CURRENT)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=not shares[0]))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    if not shares[1] and values and max(values) > RANGE_FOR_LOGARITHM * min(values) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    for axis, share in zip((axes.xaxis, axes.yaxis), shares, strict=True):
        axis.set_major_formatter(FuncFormatter(tick_percent if share else tick_number))
    if shares[0]:
        axes.set_xlim(-0.01, 1.01)
    if shares[1]:
        axes.set_ylim(-0.02, 1.02)


def canvas(
    size: tuple[int, int], *, left: int, right: int, top: int, bottom: int
) -> tuple[Figure, Axes]:
    """A figure of `size` points and axes that leave these margins, in the page's colours."""
    width, height = size
    figure = Figure(figsize=(width / 72, height / 72))
    figure.patch.set_visible(False)
    axes: Axes = figure.add_axes(
        (
            left / width,
            bottom / height,
            (width - left - right) / width,
            (height - bottom - top) / height,
        )
    )
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=CURRENT, alpha=0.5)
    axes.grid(color=CURRENT, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=LETTERS, length=3, color=CURRENT, labelcolor=CURRENT)
    return figure, axes


def tick_percent(value: float, position: int | None) -> str:
    """A share, as it stands at an axis."""
    return f"{100 * value:.0f} %"


def tick_number(value: float, position: int | None) -> str:
    """A number, as it stands at an axis."""
    return f"{value:,g}".replace("-", "\N{MINUS SIGN}")


def inline(figure: Figure, name: str, label: str) -> str:
    """The figure as `<svg>`.

    name: a prefix for the identifiers inside, different for each drawing of a page.
    label: what a screen reader reads out.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' id="', f' id="{name}-', svg)
    svg = re.sub(r'xlink:href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r" font-family: [^;\"]*;?", "", svg)
    for sentinel, colour in (SERIES | {CURRENT: "currentColor", PAPER: "var(--paper)"}).items():
        svg = svg.replace(sentinel, colour)
    svg = re.sub(r' style="([^"]*)"', _attributes, svg)
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    head = f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox='
    return re.sub(r"^<svg[^>]*", f'{head}"0 0 {width} {height}"', svg)


def _attributes(style: re.Match[str]) -> str:
    """Declarations as attributes of their own: the page's policy forbids styles in elements."""
    declared = (pair.partition(":") for pair in style[1].split(";") if pair.strip())
    return "".join(f' {name.strip()}="{value.strip()}"' for name, _, value in declared)
