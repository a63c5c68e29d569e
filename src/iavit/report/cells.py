"""A figure as a person reads it: numbers, shares, intervals, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Figure = Mapping[str, float | None]  # mean, low, high

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


def cell(figure: Figure, word: str = "") -> Cell:
    """A mean with its interval."""
    return Cell(number(figure["mean"]), between(figure), word)


def share(figure: Figure) -> Cell:
    """The same in per cent."""
    if figure["low"] is None:
        return Cell(percent(figure["mean"]))
    return Cell(percent(figure["mean"]), f"{percent(figure['low'])} to {percent(figure['high'])}")


def between(figure: Figure) -> str:
    """The interval alone; nothing where there is none."""
    if figure["low"] is None:
        return ""
    return f"{number(figure['low'])} to {number(figure['high'])}"


def p_value(p: float | None) -> str:
    """A p; very small ones as a bound, since nobody acts on their digits."""
    if p is None:
        return ""
    sign = "<" if p < 0.001 else "="
    return f"p{SPACE}{sign}{SPACE}{number(max(p, 0.001))}"


def words(key: str) -> str:
    """A key of `evaluation.json` as words."""
    return key.replace("_", " ")


def is_figure(value: object) -> bool:
    """Whether a value of `evaluation.json` is a mean with an interval.

    `mean` alone says nothing: a substrate is called that as well.
    """
    return isinstance(value, Mapping) and {"mean", "low", "high"} <= value.keys()


def plain_table(first: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """Rows of figures and numbers, in the order and with the names in which they come.

    first: the heading of the rows' names. What is nested is told as `outer: inner`; what is
    neither a figure nor a number, such as a list, has no cell to stand in.
    """
    flat = {name: dict(_cells(of)) for name, of in rows.items()}
    headings = list(dict.fromkeys(heading for cells in flat.values() for heading in cells))
    return Table(
        [first, *headings],
        [
            (name, [of.get(heading, Cell(NOTHING)) for heading in headings])
            for name, of in flat.items()
        ],
    )


def _cells(values: Mapping[str, Any]) -> list[tuple[str, Cell]]:
    found: list[tuple[str, Cell]] = []
    for key, value in values.items():
        if is_figure(value):
            found.append((words(key), cell(value)))
        elif isinstance(value, Mapping):
            found += [(f"{words(key)}: {inner}", of) for inner, of in _cells(value)]
        elif isinstance(value, int) and not isinstance(value, bool):
            found.append((words(key), Cell(f"{value:,}")))
        elif value is None or isinstance(value, float):
            found.append((words(key), Cell(number(value))))
    return found
