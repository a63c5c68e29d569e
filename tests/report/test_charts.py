"""Charts that follow the page."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from iavit.report.charts import (
    BAND,
    BASELINE,
    CHART,
    CURRENT,
    DISTINCT,
    FAINT,
    SERIES,
    TRAIN,
    VALIDATION,
    Line,
    line_chart,
)


def drawn(name: str = "x", label: str = "a chart", **changes: Any) -> str:
    lines = changes.pop("lines", [Line("a", VALIDATION, [1, 2, 3], [0.5, 0.2, 0.4])])
    return line_chart(
        lines, name=name, label=label, x_label="step", shares=(False, False), **changes
    )


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def test_follows_the_page() -> None:
    styles = [*DISTINCT, TRAIN, VALIDATION, BASELINE, FAINT]
    svg = drawn(lines=[Line(str(i), style, [0, 1], [i, 1]) for i, style in enumerate(styles)])
    assert not [colour for colour in (*SERIES, CURRENT) if colour in svg]
    assert "currentColor" in svg
    assert all(variable in svg for variable in SERIES.values())
    assert not re.search(r"#[0-9a-f]{6}\b|font-family|http|<metadata|<style", svg)


def test_an_element_of_a_page() -> None:
    svg = drawn(label='"loss" <of> & all')
    element = ElementTree.fromstring(svg)  # well-formed without any declaration
    assert element.tag == "svg"
    assert element.get("aria-label") == '"loss" <of> & all'
    assert element.get("width") is None
    assert "step" in texts(svg)


def test_has_no_styles_in_elements() -> None:
    """The page's policy would forbid them: all is said in attributes."""
    svg = drawn(label="style")
    assert " style=" not in svg
    assert 'stroke="var(--series-1)"' in svg
    assert 'text-anchor="middle"' in svg


def test_identifiers_are_its_own() -> None:
    identifiers = [set(re.findall(r' id="([^"]*)"', drawn(name=name))) for name in ("one", "two")]
    assert identifiers[0]
    assert not identifiers[0] & identifiers[1]
    references = set(re.findall(r'(?:href="|url\()#([^")]*)', drawn(name="one")))
    assert references == identifiers[0]


def test_drawn_the_same_each_time() -> None:
    assert drawn() == drawn()


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [([1.0, 0.05], False), ([1.0, 0.04], True), ([1.0, 0.0], False), ([1.0, -0.01], False)],
)
def test_logarithmic_where_a_loss_falls_far(values: list[float], logarithmic: bool) -> None:
    labels = texts(drawn(lines=[Line("a", TRAIN, [1, 2], values)]))
    assert ("0.5" not in labels) == logarithmic
    assert "1" in labels


def test_shares_are_per_cent() -> None:
    line = Line("a", TRAIN, [0.0, 1.0], [0.2, 0.3])
    svg = line_chart([line], name="x", label="x", x_label="patches", shares=(True, True))
    assert texts(svg).count("100 %") == 2
    assert texts(svg).count("0 %") == 2


def test_a_single_point_can_be_seen() -> None:
    assert "<use" in drawn(lines=[Line("a", TRAIN, [7], [1.0])]).partition("clip-path")[2]


def test_a_band_is_drawn_once_and_pale() -> None:
    line = Line("a", VALIDATION, [0, 1, 2], [0.5, 0.2, 0.4])
    banded = Line("a", VALIDATION, [0, 1, 2], [0.5, 0.2, 0.4], ([0.4, 0.1, 0.3], [0.6, 0.3, 0.5]))
    band = f'fill-opacity="{BAND}"'
    assert band not in drawn(lines=[line])
    assert drawn(lines=[banded]).count(band) == 1


def test_lines_are_told_apart_by_their_dashes() -> None:
    """Colour alone would not do for everybody: drawn, pause, ... in points."""
    lines = [Line(str(at), style, [0, 1], [0, at]) for at, style in enumerate(DISTINCT)]
    dashes = re.findall(r'stroke-dasharray="([^"]*)"', drawn(lines=lines))
    found = [tuple(float(part) for part in re.split(r"[, ]+", each)) for each in dashes]
    assert [dash for dash in found if dash in {style.dash for style in DISTINCT}] == [
        style.dash for style in DISTINCT if style.dash
    ]


def test_a_chart_is_as_wide_and_high_as_it_is_asked_to_be() -> None:
    element = ElementTree.fromstring(drawn())
    assert element.get("viewBox") == f"0 0 {CHART[0]} {CHART[1]}"
