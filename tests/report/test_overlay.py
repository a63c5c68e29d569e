"""The picture of an explanation."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iavit.report.maps import painted
from iavit.report.overlay import ABOVE, GAP, MARGIN, PANEL, WIDTH, explanation_figure


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "predictor": [{"class": "cat", "probability": 0.75}, {"class": "dog", "probability": 0.2}],
        "interpreter": [{"class": "dog", "probability": 0.6}, {"class": "fox", "probability": 0.3}],
        "agreement": False,
        "explainer": "interpreter",
        "trust": {"trust": 0.5, "answer": 0.625, "faithfulness": 0.8},
        "target": "cat",
    } | changes


@pytest.mark.parametrize("side", [7, 28, 301])
@pytest.mark.parametrize("shape", [(3, 5), (28, 28)])
@pytest.mark.parametrize("signed", [False, True])
def test_figure(side: int, shape: tuple[int, int], signed: bool) -> None:
    heat = np.random.default_rng(0).normal(size=shape)
    png = explanation_figure(Image.new("RGB", (side, side), "teal"), heat, signed, facts())
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert picture.width == WIDTH
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert (pixels == (0, 128, 128)).all(axis=1).any()


def test_the_figure_tells_agreement_and_explainer() -> None:
    picture, heat = Image.new("RGB", (8, 8)), np.eye(2)
    same = explanation_figure(picture, heat, False, facts())
    assert explanation_figure(picture, heat, False, facts()) == same
    assert explanation_figure(picture, heat, False, facts(agreement=True)) != same
    assert explanation_figure(picture, heat, False, facts(explainer="rollout")) != same
    assert explanation_figure(picture, heat, True, facts()) != same
    assert explanation_figure(picture, heat, False, facts(target="dog")) != same


@pytest.mark.parametrize(
    "name", ["$x^", r"\frac{1}", "$\\undefined$", "猫", "<b>", "a" * 300, "two\nlines", ""]
)
def test_a_figure_of_strange_names(name: str) -> None:
    top = [{"class": name, "probability": 1.0}]
    explanation_figure(Image.new("RGB", (8, 8)), np.eye(2), False, facts(predictor=top))


def drawn(picture: Image.Image, **changes: Any) -> np.ndarray:
    png = explanation_figure(picture, np.eye(2), False, facts(**changes))
    with Image.open(io.BytesIO(png)) as figure:
        return np.asarray(figure.convert("RGB")).astype(int)


def test_the_map_lies_on_its_patches() -> None:
    """The eye's first and last patch have colour, the two others are the picture in grey."""
    pixels = drawn(Image.new("RGB", (80, 80), "teal"))
    left, half = MARGIN + PANEL + GAP, PANEL // 2
    panel = pixels[ABOVE : ABOVE + PANEL, left : left + PANEL]
    strong = [panel[9 : half - 9, 9 : half - 9], panel[half + 9 : -9, half + 9 : -9]]
    weak = [panel[9 : half - 9, half + 9 : -9], panel[half + 9 : -9, 9 : half - 9]]
    assert all(np.ptp(patch, axis=-1).min() > 30 for patch in strong)
    assert all(np.ptp(patch, axis=-1).max() == 0 for patch in weak)
    image = pixels[ABOVE : ABOVE + PANEL, MARGIN : MARGIN + PANEL]
    assert (image[5:-5, 5:-5] == (0, 128, 128)).all()


@pytest.mark.parametrize("signed", [False, True])
def test_the_scale_runs_over_the_colours_of_the_map(signed: bool) -> None:
    """From its lowest colour to its highest, evenly."""
    png = explanation_figure(Image.new("RGB", (8, 8)), np.eye(2), signed, facts())
    with Image.open(io.BytesIO(png)) as figure:
        pixels = np.asarray(figure.convert("RGB")).astype(int)
    start, end = MARGIN + PANEL + GAP + PANEL // 4, MARGIN + PANEL + GAP + 3 * PANEL // 4
    rows = pixels[ABOVE + PANEL :, start + 1 : end - 1]
    values = np.linspace(-1 if signed else 0, 1, end - start)[None, 1:-1]
    expected = painted(np.full((1, 1, 1), 0.5), values, signed)[0] * 255
    nearest = min(np.abs(row - expected).max() for row in rows)
    assert nearest <= 3


def test_a_disagreement_is_a_warning_in_its_own_colour() -> None:
    picture = Image.new("RGB", (8, 8))
    warning = (0xA3, 0x23, 0x0B)
    assert (drawn(picture, agreement=False) == warning).all(axis=-1).any()
    assert not (drawn(picture, agreement=True) == warning).all(axis=-1).any()
