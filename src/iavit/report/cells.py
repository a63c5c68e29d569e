"""A figure as a person reads it: numbers, shares, intervals, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iavit.evaluate.evaluation import Comparison, Evaluation, Figure
from iavit.evaluate.metrics import METRICS
from iavit.evaluate.statistics import FLIPS

NOTHING = "–"
SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Cell:
    """A figure as it is read: its mean, its interval, how sure it is, and a word on it."""

    mean: str
    interval: str = ""
    word: str = ""
    p: str = ""


@dataclass(frozen=True)
class Table:
    """The columns' headings, that of the rows first; each row's name and cells."""

    headings: list[str]
    rows: list[tuple[str, list[Cell]]]


def number(value: float | None, digits: int = 3, *, plus: bool = False) -> str:
    """A figure with a proper minus sign; a dash where there is none."""
    if value is None:
        return NOTHING
    text = f"{value:{'+' if plus else ''},.{digits}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")  # no sign before a zero
    return text.replace("-", "\N{MINUS SIGN}")


def percent(value: float | None) -> str:
    """A share in per cent, which does not break over two lines."""
    return NOTHING if value is None else f"{100 * value:.1f}{SPACE}%"


def cell(figure: Figure | None, word: str = "") -> Cell:
    """A mean with its interval; a dash where there is none."""
    return Cell(NOTHING) if figure is None else Cell(number(figure.mean), between(figure), word)


def share(figure: Figure) -> Cell:
    """The same in per cent."""
    if figure.low is None:
        return Cell(percent(figure.mean))
    return Cell(percent(figure.mean), f"{percent(figure.low)} to {percent(figure.high)}")


def between(figure: Figure) -> str:
    """The interval alone; nothing where there is none."""
    return "" if figure.low is None else f"{number(figure.low)} to {number(figure.high)}"


def p_value(comparison: Comparison) -> str:
    """The adjusted p; very small ones as a bound, since nobody acts on their digits.

    A permutation test tells no p below one over its permutations: there the figure is a bound, too.
    """
    p = comparison.adjusted_p
    if p is None or comparison.p is None:
        return ""
    if p < 0.001:
        return f"p{SPACE}<{SPACE}0.001"
    sign = "≤" if comparison.p <= 1 / FLIPS else "="
    return f"p{SPACE}{sign}{SPACE}{number(p)}"


def measured_images(evaluation: Evaluation) -> str:
    """How many images were measured, and of how many they were drawn."""
    if evaluation.drawn_from is None:
        return f"{evaluation.images:,} {evaluation.split} images"
    return (
        f"{evaluation.images:,} of {evaluation.drawn_from:,} {evaluation.split} images, "
        "drawn evenly over classes,"
    )


def heading(metric: str) -> str:
    """A measure in words: its heading in `METRICS`, or what a protocol or a gap is called."""
    return METRICS[metric].heading if metric in METRICS else metric.replace("_", " ")


def figure_table(first: str, rows: Mapping[str, Mapping[str, Figure]]) -> Table:
    """Rows of figures, in the order in which they come; first: the heading of the rows' names."""
    metrics = list(dict.fromkeys(metric for figures in rows.values() for metric in figures))
    return Table(
        [first, *map(heading, metrics)],
        [(name, [cell(figures.get(m)) for m in metrics]) for name, figures in rows.items()],
    )
