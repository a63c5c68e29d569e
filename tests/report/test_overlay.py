"""The picture of an explanation."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from iavit.report import overlay
from iavit.report.maps import painted
from iavit.report.overlay import (
    ABOVE,
    GAP,
    HEIGHT,
    MARGIN,
    PANEL,
    WIDTH,
    explanation_figure,
)


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


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> Figure:
    """The figure of a picture of which eight of 64 patches suffice, as it was drawn."""
    kept: list[Figure] = []

    class Kept(Figure):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            kept.append(self)

    monkeypatch.setattr(overlay, "Figure", Kept)
    suffice = np.zeros((8, 8), bool)
    suffice[2, :] = True
    enough = {"patches": 8, "of": 64, "coverage": 0.9}
    told = facts(sufficient=enough, target="fox")
    explanation_figure(Image.new("RGB", (8, 8)), np.eye(8), True, told, suffice)
    (drawn,) = kept
    return drawn


def test_all_that_is_written_is_inside_and_on_nothing_else(figure: Figure) -> None:
    """Of nine points at least."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    panels = [axes.get_window_extent(renderer) for axes in figure.axes]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
    assert all(float(text.get_fontsize()) >= 9 for text in figure.texts)
    for at, (one, box) in enumerate(boxes):
        assert box.x0 >= 0, one
        assert box.x1 <= WIDTH, one
        assert 0 <= box.y0 < box.y1 <= HEIGHT, one
        assert not any(box.overlaps(panel) for panel in panels if panel.height > 30), one
        assert not [other for other, place in boxes[at + 1 :] if box.overlaps(place)], one


def test_what_is_written_and_where_it_begins(figure: Figure) -> None:
    """In pixels from the upper left: a base line, or a middle for what stands beside a bar."""
    placed = []
    for text in figure.texts:
        across, up = text.get_position()
        placed.append((text.get_text(), round(across * WIDTH, 1), round((1 - up) * HEIGHT, 1)))
    first, second, third = (MARGIN + number * (PANEL + GAP) for number in range(3))
    disagrees = "The interpreter disagrees: it says dog (60.0 %). Do not rely on its map of this "
    assert placed == [
        ("Predicted: cat (75.0 %)", first, 36),
        (f"{disagrees}prediction. Drawn: interpreter.", first, 63),
        ("image", first, 98),
        ("map over the image in grey: class fox", second, 98),
        ("against", second + 107, 587),
        ("for", second + 353, 587),
        ("no trust in this explanation: the interpreter names another class", first, 587),
        ("outlined: the first 8 of 64 patches keep the answer, in 90 % of images", first, 602),
        ("predictor", third + 16, 98),
        ("interpreter", third + 210 + 16, 98),
        ("cat", third, 125),
        ("75.0 %", third + 270 + 6, 138.5),
        ("not among its first 2", third + 6, 155.5),
        ("dog", third, 213),
        ("20.0 %", third + 72 + 6, 226.5),
        ("60.0 %", third + 216 + 6, 243.5),
        ("fox", third, 301),
        ("not among its first 2", third + 6, 314.5),
        ("30.0 %", third + 108 + 6, 331.5),
    ]
    styles: dict[str, Any] = {
        text.get_text(): (text.get_fontsize(), text.get_color()) for text in figure.texts
    }
    ink, quiet = "#1b1b1b", "#5c5c5c"
    assert styles["Predicted: cat (75.0 %)"] == (15, ink)
    assert styles[f"{disagrees}prediction. Drawn: interpreter."] == (11.5, "#a3230b")
    assert {styles[name] for name in ("image", "predictor", "interpreter")} == {(10.5, quiet)}
    assert {styles[name] for name in ("cat", "dog", "fox")} == {(10.5, ink)}
    assert {styles[name] for name in ("against", "for")} == {(9.5, quiet)}
    assert {styles[name] for name in ("75.0 %", "30.0 %")} == {(9, ink)}


def test_a_bar_is_as_long_as_the_probability(figure: Figure) -> None:
    """Of 360 pixels; the predictor's above the interpreter's, which is hatched."""
    found = []
    for axes in figure.axes:
        for bar in axes.patches:
            box = axes.get_position()
            place = (box.width * WIDTH, box.height * HEIGHT, (1 - box.y1) * HEIGHT)
            found.append((*(round(each, 1) for each in place), bool(bar.get_hatch())))
    assert found == [
        (10, 10, 89, False), (10, 10, 89, True),
        (270, 15, 131, False), (1, 15, 148, True),
        (72, 15, 219, False), (216, 15, 236, True),
        (1, 15, 307, False), (108, 15, 324, True),
    ]  # fmt: skip


def test_patches_that_suffice_are_outlined_on_the_map(figure: Figure) -> None:
    (panel,) = (axes for axes in figure.axes if axes.collections)
    outer, inner = panel.collections
    assert [float(each.get_linewidth()[0]) for each in (outer, inner)] == [3.2, 1.4]  # type: ignore[index]
    ends = np.array(inner.get_segments()).reshape(-1, 2)  # type: ignore[attr-defined]
    side = PANEL / 8
    assert ends.min(axis=0).tolist() == [-0.5, 2 * side - 0.5]
    assert ends.max(axis=0).tolist() == [PANEL - 0.5, 3 * side - 0.5]
    assert len(inner.get_segments()) == 18  # type: ignore[attr-defined]


def test_long_names_are_cut() -> None:
    assert overlay._short("two\n words", 9) == "two words"
    assert overlay._short("ten letters", 10) == "ten lette…"
    assert overlay._short("ten letter", 10) == "ten letter"
