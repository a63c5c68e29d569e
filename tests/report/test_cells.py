"""Figures as a person reads them."""

from __future__ import annotations

import pytest

from iavit.evaluate.evaluation import Figure
from iavit.report.cells import (
    Cell,
    between,
    cell,
    figure_table,
    heading,
    measured_images,
    number,
    p_value,
    percent,
    share,
)
from tests.report import comparison, evaluation, parsed

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.41364, "0.414"),
        (-0.0521, f"{MINUS}0.052"),
        (-0.0004, "0.000"),
        (0.0, "0.000"),
        (1234.5, "1,234.500"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0521, "+0.052"), (-0.0521, f"{MINUS}0.052"), (0.0001, "0.000")]
)
def test_number_with_its_sign(value: float, text: str) -> None:
    assert number(value, plus=True) == text


@pytest.mark.parametrize(
    ("p", "adjusted", "text"),
    [
        (0.004, 0.0163, "p = 0.016"),
        (0.00004, 0.00072, "p < 0.001"),
        (0.0001, 0.0018, "p ≤ 0.002"),  # the least that the test can tell, corrected
        (0.0005, 0.001, "p = 0.001"),
        (0.0002, 0.00099, "p < 0.001"),
        (None, None, ""),
        (0.5, None, ""),
        (None, 0.5, ""),
        (1.0, 1.0, "p = 1.000"),
    ],
)
def test_p_value(p: float | None, adjusted: float | None, text: str) -> None:
    entry = comparison("rollout", "difference", 0.1, 0.2) | {"p": p, "adjusted_p": adjusted}
    found = parsed(evaluation() | {"comparisons": [entry]}).comparisons[0]
    assert p_value(found).replace("\N{NO-BREAK SPACE}", " ") == text


def test_shares_are_in_per_cent_and_do_not_break() -> None:
    assert percent(0.96149) == "96.1\N{NO-BREAK SPACE}%"
    assert percent(None) == "–"
    assert share(Figure(0.5, 0.4321, 0.5679)) == Cell(
        percent(0.5), f"{percent(0.4321)} to {percent(0.5679)}"
    )
    assert share(Figure(0.5, None, None)) == Cell(percent(0.5))


def test_a_figure_with_its_interval_from_low_to_high() -> None:
    assert cell(Figure(-0.05, -0.0684, 0.0362), "best") == Cell(
        f"{MINUS}0.050", f"{MINUS}0.068 to 0.036", "best"
    )
    assert cell(None) == Cell("–")
    assert between(Figure(0.5, None, None)) == ""


def test_images_that_were_drawn_are_told_from_all() -> None:
    whole = parsed(evaluation() | {"images": 1234})
    assert measured_images(whole) == "1,234 test images"
    drawn = parsed(evaluation() | {"images": 5, "drawn_from": 10_000})
    assert measured_images(drawn) == "5 of 10,000 test images, drawn evenly over classes,"


def test_a_measure_is_called_by_its_heading() -> None:
    assert heading("pointing_game") == "pointing game"
    assert heading("demographic_parity") == "demographic parity"  # which the catalogue has not


def test_a_table_has_a_column_for_each_figure_that_a_row_has() -> None:
    a, b = Figure(0.25, 0.125, 0.375), Figure(0.75, 0.5, 1.0)
    table = figure_table("group", {"old": {"accuracy": a}, "young": {"accuracy": b, "other": a}})
    assert table.headings == ["group", "accuracy", "other"]
    assert table.rows == [
        ("old", [Cell("0.250", "0.125 to 0.375"), Cell("–")]),
        ("young", [Cell("0.750", "0.500 to 1.000"), Cell("0.250", "0.125 to 0.375")]),
    ]
