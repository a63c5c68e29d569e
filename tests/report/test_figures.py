"""Charts that follow the page, and the figure of `iavit explain`."""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from iavit.report.figures import (
    BASELINE,
    CURRENT,
    DISTINCT,
    FAINT,
    SERIES,
    TRAIN,
    VALIDATION,
    WIDTH,
    Line,
    chart,
    overlay_figure,
)


def drawn(name: str = "x", label: str = "a chart", **changes: Any) -> str:
    lines = changes.pop("lines", [Line("a", VALIDATION, [1, 2, 3], [0.5, 0.2, 0.4])])
    return chart(lines, name=name, label=label, x_label="step", shares=(False, False), **changes)


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
    svg = chart([line], name="x", label="x", x_label="patches", shares=(True, True))
    assert texts(svg).count("100 %") == 2
    assert texts(svg).count("0 %") == 2


def test_a_single_point_can_be_seen() -> None:
    assert "<use" in drawn(lines=[Line("a", TRAIN, [7], [1.0])]).partition("clip-path")[2]


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "predictor": [{"class": "cat", "probability": 0.75}, {"class": "dog", "probability": 0.2}],
        "interpreter": [{"class": "dog", "probability": 0.6}, {"class": "fox", "probability": 0.3}],
        "agreement": False,
        "explainer": "interpreter",
        "target": "cat",
    } | changes


@pytest.mark.parametrize("side", [7, 28, 301])
@pytest.mark.parametrize("shape", [(3, 5), (28, 28)])
@pytest.mark.parametrize("signed", [False, True])
def test_overlay(side: int, shape: tuple[int, int], signed: bool) -> None:
    heat = np.random.default_rng(0).normal(size=shape)
    png = overlay_figure(Image.new("RGB", (side, side), "teal"), heat, signed, facts())
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert picture.width == WIDTH
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert (pixels == (0, 128, 128)).all(axis=1).any()


def test_overlay_tells_agreement_and_explainer() -> None:
    picture, heat = Image.new("RGB", (8, 8)), np.eye(2)
    same = overlay_figure(picture, heat, False, facts())
    assert overlay_figure(picture, heat, False, facts()) == same
    assert overlay_figure(picture, heat, False, facts(agreement=True)) != same
    assert overlay_figure(picture, heat, False, facts(explainer="rollout")) != same
    assert overlay_figure(picture, heat, True, facts()) != same


@pytest.mark.parametrize(
    "name", ["$x^", r"\frac{1}", "$\\undefined$", "猫", "<b>", "a" * 300, "two\nlines", ""]
)
def test_overlay_of_strange_names(name: str) -> None:
    top = [{"class": name, "probability": 1.0}]
    overlay_figure(Image.new("RGB", (8, 8)), np.eye(2), False, facts(predictor=top))
