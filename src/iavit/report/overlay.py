"""What an explained image looks like: the picture, its map, and what both branches say."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from iavit.report.maps import blend, border, painted, resized

# The figure, in pixels.
WIDTH, HEIGHT, DPI = 1440, 610, 100
MARGIN, GAP, PANEL, ABOVE = 24, 26, 460, 108
INK, QUIET, WARNING = "#1b1b1b", "#5c5c5c", "#a3230b"
BRANCHES = {"predictor": "#2b66d9", "interpreter": "#8a2f0b"}


def explanation_figure(
    picture: Image.Image,
    heat: np.ndarray,
    signed: bool,
    facts: dict[str, Any],
    sufficient: np.ndarray | None = None,
) -> bytes:
    """PNG of the picture, the map over it, and both branches' most probable classes.

    picture: RGB, square. heat: (h, w).
    facts: `predictor` and `interpreter`, lists of `{"class", "probability"}`, most probable
        first; `target`, the class explained; `agreement`, `explainer` and `trust`, figures from
        0 to 1; with `sufficient`, how many patches keep the answer, of how many, in which share of
        images.
    sufficient: (h, w) bool, those patches, which are outlined.
    """
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    first, second = facts["predictor"][0], facts["interpreter"][0]
    predicted = f"Predicted: {_short(first['class'], 60)} ({_percent(first['probability'])})"
    _write(figure, MARGIN, 36, predicted, 15, weight="bold")
    probability = _percent(second["probability"])
    if facts["agreement"]:
        line = f"The interpreter agrees ({probability}). Explained by {facts['explainer']}."
        trusted = f"trust in this explanation: {facts['trust']['trust']:.2f} of 1"
        _write(figure, MARGIN, 63, line, 11.5)
    else:
        other = _short(second["class"], 40)
        line = f"The interpreter disagrees: it says {other} ({probability}). "
        line += f"Do not rely on its map of this prediction. Drawn: {facts['explainer']}."
        trusted = "no trust in this explanation: the interpreter names another class"
        _write(figure, MARGIN, 63, line, 11.5, color=WARNING)
    whose = "" if facts["target"] == first["class"] else f": class {_short(facts['target'], 30)}"
    shown = {
        "image": resized(picture, (PANEL, PANEL)),
        f"map over the image in grey{whose}": blend(picture, heat, signed, PANEL),
    }
    for number, (title, panel) in enumerate(shown.items()):
        left = MARGIN + number * (PANEL + GAP)
        _write(figure, left, ABOVE - 10, title, 10.5, color=QUIET)
        axes = _axes(figure, left, ABOVE, PANEL, PANEL)
        axes.imshow(np.asarray(panel), interpolation="nearest", aspect="auto")
    under = ABOVE + PANEL
    _scale(figure, MARGIN + PANEL + GAP, under + 10, signed)
    _write(figure, MARGIN, under + 19, trusted, 9.5, color=QUIET)
    if sufficient is not None:
        _outline(axes, sufficient)
        kept = facts["sufficient"]
        kept_line = (
            f"outlined: the first {kept['patches']} of {kept['of']} patches keep the answer, in "
            f"{100 * kept['coverage']:g} % of images"
        )
        _write(figure, MARGIN, under + 34, kept_line, 9.5, color=QUIET)
    _bars(figure, MARGIN + 2 * (PANEL + GAP), facts)
    with warnings.catch_warnings(), io.BytesIO() as file:
        # A class name in a script that the font lacks is drawn as boxes: no reason for noise.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()


def _outline(axes: Axes, sufficient: np.ndarray) -> None:
    """A line around patches, (h, w) bool, on a panel."""
    size = np.array([PANEL / sufficient.shape[1], PANEL / sufficient.shape[0]])
    edges = [
        (size * start - 0.5, size * np.add(start, way) - 0.5) for start, way in border(sufficient)
    ]
    for colour, width in (("white", 3.2), (INK, 1.4)):  # seen on any colour
        axes.add_collection(LineCollection(edges, colors=colour, linewidths=width))


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
    names = list(dict.fromkeys(name for branch in probabilities for name in branch))
    width = WIDTH - MARGIN - left
    block = min(88, (PANEL + 28) / len(names))  # of one class: its name, two bars, a gap
    tall = min(15, (block - 22) / 2)
    for number, branch in enumerate(BRANCHES):
        at = left + number * width / 2
        _bar(figure, at, ABOVE - 19, 10, 10, branch)
        _write(figure, at + 16, ABOVE - 10, branch, 10.5, color=QUIET)
    for number, name in enumerate(names):
        top = ABOVE + 6 + number * block
        _write(figure, left, top + 11, _short(name, 34), 10.5)
        for row, (branch, shares) in enumerate(zip(BRANCHES, probabilities, strict=True)):
            length = (width - 60) * shares.get(name, 0.0)
            under = top + 17 + row * (tall + 2)
            _bar(figure, left, under, max(length, 1), tall, branch)
            value = (
                _percent(shares[name]) if name in shares else f"not among its first {len(shares)}"
            )
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
