"""Charts that follow the page."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iavit.report import charts
from iavit.report.charts import (
    BAND,
    BASELINE,
    CHART,
    CURRENT,
    DISTINCT,
    FAINT,
    SERIES,
    SUBJECT,
    TRAIN,
    VALIDATION,
    Line,
    Style,
    line_chart,
    tick_number,
    tick_percent,
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


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> Axes:
    """Of a chart of shares, with a line and its band, and a dashed one of a single point."""
    kept: list[Figure] = []

    def inline(figure: Figure, name: str, label: str) -> str:
        kept.append(figure)
        return f"{name}: {label}"

    monkeypatch.setattr(charts, "inline", inline)
    band = ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    lines = [
        Line("a", VALIDATION, [0, 0.5, 1], [0.3, 0.4, 0.5], band),
        Line("b", Style(dash=(6, 2), width=2.0, opacity=0.25), [1], [0.75]),
    ]
    said = line_chart(lines, name="n", label="l", x_label="patches", shares=(True, True))
    assert said == "n: l"
    ((found,),) = (figure.axes for figure in kept)
    return found


def test_a_chart_leaves_room_for_its_numbers(axes: Axes) -> None:
    """44 points on the left and 38 below."""
    box, (width, height) = axes.get_position(), CHART
    assert (width, height) == (360, 224)
    edges = (box.x0 * width, box.y0 * height, box.x1 * width, box.y1 * height)
    assert edges == pytest.approx((44, 38, width - 18, height - 8))
    assert axes.get_xlim() == (-0.01, 1.01)
    assert axes.get_ylim() == (-0.02, 1.02)
    assert axes.get_xlabel() == "patches"
    for axis in (axes.xaxis, axes.yaxis):
        found = axis.get_tick_params()
        assert (found["labelsize"], found["length"], found["labelcolor"]) == (11, 3, CURRENT)
        (line, *_) = axis.get_gridlines()
        assert (line.get_alpha(), line.get_linewidth()) == (0.12, 0.6)
    assert axes.xaxis.label.get_fontsize() == 11


def test_a_chart_has_two_edges_and_no_paper_of_its_own(axes: Axes) -> None:
    seen = {side: spine.get_visible() for side, spine in axes.spines.items()}
    assert seen == {"left": True, "bottom": True, "top": False, "right": False}
    assert axes.spines["left"].get_alpha() == axes.spines["bottom"].get_alpha() == 0.5
    assert not axes.patch.get_visible()
    assert not axes.figure.patch.get_visible()
    assert axes.get_axisbelow() is True


def test_lines_are_drawn_in_their_style(axes: Axes) -> None:
    first, second = axes.lines
    assert (first.get_color(), first.get_linewidth(), first.get_alpha()) == (SUBJECT, 2.0, 1.0)
    assert (first.get_marker(), second.get_marker()) == ("o", "o")  # one point has to be seen
    assert (second.get_linewidth(), second.get_alpha()) == (2.0, 0.25)
    assert first.get_markersize() == second.get_markersize() == pytest.approx(2.5 * 2**0.5)
    (band,) = axes.collections
    assert band.get_alpha() == BAND == 0.16
    assert np.atleast_1d(band.get_linewidth())[0] == 0
    corners = band.get_paths()[0].get_extents()
    assert (corners.y0, corners.y1) == (0.1, 0.6)


def test_styles_by_what_they_are_for() -> None:
    assert Style() == Style(CURRENT, (), 1.6, 1.0, False)
    assert Style(CURRENT, (), 1.0, 0.5) == TRAIN
    assert Style(SUBJECT, (), 2.0, 1.0, True) == VALIDATION
    assert Style(CURRENT, (1, 2), 1.6, 0.8) == BASELINE
    assert Style(CURRENT, (), 0.8, 0.35) == FAINT
    assert [style.css for style in DISTINCT] == [f"var(--series-{n})" for n in range(1, 7)]
    assert TRAIN.css == "currentColor"
    dashes = [(), (6, 2), (2, 2), (8, 2, 2, 2), (4, 1), (10, 3)]
    assert [style.dash for style in DISTINCT] == dashes


def test_numbers_at_an_axis() -> None:
    assert (tick_percent(0.256, 0), tick_percent(1.0, None)) == ("26 %", "100 %")
    assert tick_number(-1234.5, None) == "\N{MINUS SIGN}1,234.5"
    assert tick_number(0.05, 3) == "0.05"
