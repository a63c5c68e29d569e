"""The picture of an explanation."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iavit.report.overlay import WIDTH, explanation_figure


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "predictor": [{"class": "cat", "probability": 0.75}, {"class": "dog", "probability": 0.2}],
        "interpreter": [{"class": "dog", "probability": 0.6}, {"class": "fox", "probability": 0.3}],
        "agreement": False,
        "explainer": "interpreter",
        "trust": {"trust": 0.5, "answer": 0.625, "parts": 0.8},
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


@pytest.mark.parametrize(
    "name", ["$x^", r"\frac{1}", "$\\undefined$", "猫", "<b>", "a" * 300, "two\nlines", ""]
)
def test_a_figure_of_strange_names(name: str) -> None:
    top = [{"class": name, "probability": 1.0}]
    explanation_figure(Image.new("RGB", (8, 8)), np.eye(2), False, facts(predictor=top))
