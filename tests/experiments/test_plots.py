"""The paper's figures: where each mark is drawn, and what is written beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from PIL import Image

from iavit.experiments import plots
from iavit.experiments.plots import (
    SERIES,
    difference_figure,
    explanation_figure,
    save,
    token_figure,
)
from iavit.experiments.tokens import correlation, views
from iavit.explain import EXPLAINERS
from iavit.model.explainable import extractor_of
from tests.report import CLASSES, tiny_images, tiny_model


def figure(mean: float | None, low: float | None = None, high: float | None = None) -> Any:
    return {"mean": mean, "low": low, "high": high}


FOUND = {
    "digits": {
        "plain ViT": {"rise": figure(0.5, 0.4, 0.7), "random": figure(0.0, -0.1, 0.1)},
        "IA-ViT": {"rise": figure(0.3, 0.2, 0.35), "raw_attention": figure(0.6)},
    },
    "stl10": {"plain ViT": {"rise": figure(0.2, 0.1, 0.3), "random": figure(None)}},
}


def points(axes: Axes) -> dict[str, list[tuple[float, float, float, float]]]:
    """Model to (height, mean, low, high) of each of its markers."""
    drawn: dict[str, list[tuple[float, float, float, float]]] = {}
    for container in axes.containers:
        assert isinstance(container, ErrorbarContainer)
        line, _caps, bars = container.lines
        segments = [bar for each in bars for bar in each.get_segments()]
        ends = [(float(bar[0, 0]), float(bar[1, 0])) for bar in segments]
        places = zip(np.asarray(line.get_xydata()).tolist(), ends, strict=True)
        drawn[str(container.get_label())] = [(y, x, *end) for (x, y), end in places]
    return drawn


def test_the_best_explainer_stands_on_top_and_intervals_end_where_they_end() -> None:
    left, _ = difference_figure(FOUND).axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["raw attention", "rise", "random"]  # 0.6, then 0.5, 0.3 and 0.2, then 0
    top, bottom = left.get_ylim()[1], left.get_ylim()[0]
    assert (top, bottom) == pytest.approx(
        (-0.6, 2.6)
    )  # the first is above; equal room at both ends
    drawn = points(left)
    rise, random = drawn["plain ViT"]
    assert rise == pytest.approx((1 - 0.2, 0.5, 0.4, 0.7))  # the models side by side
    assert random == pytest.approx((2 - 0.2, 0.0, -0.1, 0.1))
    attention, rise = drawn["IA-ViT"]
    assert attention == pytest.approx((0 + 0.2, 0.6, 0.6, 0.6))  # no interval, so no width
    assert rise == pytest.approx((1 + 0.2, 0.3, 0.2, 0.35))


def test_each_data_set_has_its_panel_with_what_it_knows() -> None:
    left, right = difference_figure(FOUND).axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["digits", "stl10"]
    assert points(right)["plain ViT"] == [pytest.approx((0.8, 0.2, 0.1, 0.3))]
    assert points(right)["IA-ViT"] == []
    assert any(np.array_equal(line.get_xdata(), [0, 0]) for line in left.lines)


def test_models_differ_in_colour_and_marker_and_the_legend_says_which() -> None:
    made = difference_figure(FOUND)
    markers = [
        bars.lines[0] for bars in made.axes[0].containers if isinstance(bars, ErrorbarContainer)
    ]
    found = [(to_hex(line.get_color()), line.get_marker()) for line in markers]
    assert found == list(SERIES[:2])
    (legend,) = made.legends
    assert [text.get_text() for text in legend.get_texts()] == ["plain ViT", "IA-ViT"]


def test_both_distributions_as_bars_of_the_probabilities() -> None:
    saved, images = tiny_model(), tiny_images()
    made = token_figure(saved, images, "in a line")
    assert made.get_suptitle() == "in a line"
    first = made.axes[:4]
    seen = views(extractor_of(saved.model), images[range(4)].images)
    own, mean = first[1].containers
    for bars, logits in ((own, seen.class_logits[0]), (mean, seen.patch_logits[0])):
        heights = [bar.get_height() for bar in bars]
        assert heights == pytest.approx(logits.softmax(dim=-1).tolist(), abs=1e-6)
    legend = first[1].get_legend()
    assert legend is not None
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["class token", "mean patch token"]
    alike = correlation(seen.class_maps, seen.patch_maps)
    for row in range(4):
        label = made.axes[4 * row + 3].get_xlabel()
        assert label == f"correlation {float(alike[row]):.2f}"


def test_maps_are_of_the_class_that_is_predicted_and_the_true_one_is_named() -> None:
    saved, images = tiny_model(), tiny_images()
    explainers = ("contributions", "raw_attention")
    made = explanation_figure(saved, images, explainers, seed=0)
    batch = images[range(6)]
    with torch.no_grad():
        said = saved.model(batch.images).logits.argmax(dim=-1)
    assert len(made.axes) == 6 * 3
    titles = [axes.get_title() for axes in made.axes]
    assert titles == ["image", "contributions", "raw\nattention", *[""] * 15]
    for row in range(6):
        label = made.axes[3 * row].get_xlabel()
        predicted, truth = CLASSES[int(said[row])], CLASSES[int(batch.labels[row])]
        assert label.startswith(predicted[:11])
        assert (", is " in label) is (predicted != truth)
        if predicted != truth:
            assert label.split(", is ")[1].startswith(truth[:9])
    # Bluest where the map is lowest, and hardly so where it is nearly 0.
    heat = EXPLAINERS["contributions"](saved.model, batch.images, said).maps[0].detach()
    shown = np.asarray(made.axes[1].images[0].get_array(), dtype=float)
    side = shown.shape[0] // 3
    reds = [
        (shown[side * r : side * (r + 1), side * c : side * (c + 1), 0]
         - shown[side * r : side * (r + 1), side * c : side * (c + 1), 2]).mean()
        for r in range(3) for c in range(3)
    ]  # fmt: skip
    assert int(np.argmin(reds)) == int(heat.flatten().argmin())
    assert min(reds) < 5 * reds[int(heat.abs().argmin())] < 0


def test_a_figure_is_written_twice_and_always_the_same(tmp_path: Path) -> None:
    png, pdf = save(difference_figure(FOUND), tmp_path / "figures", "figure-3")
    with Image.open(png) as picture:
        assert picture.width == pytest.approx(160 * (3.0 + 3.4 * 2), abs=1)
    assert pdf.read_bytes().startswith(b"%PDF")
    before = png.read_bytes(), pdf.read_bytes()
    save(difference_figure(FOUND), tmp_path / "figures", "figure-3")
    assert (png.read_bytes(), pdf.read_bytes()) == before


def test_axes_are_plain_and_pictures_have_none() -> None:
    first, second = Figure().subplots(1, 2)
    plots._dress(first)
    shown = {side: spine.get_visible() for side, spine in first.spines.items()}
    assert shown == {"left": True, "bottom": True, "top": False, "right": False}
    assert to_hex(first.spines["left"].get_edgecolor()) == "#d0d0cc"
    for axis in (first.xaxis, first.yaxis):
        found = axis.get_tick_params()
        assert (found["labelsize"], found["length"]) == (8, 2)
        assert (found["color"], found["labelcolor"]) == ("#d0d0cc", "#1b1b1b")
    plots._picture(second, Image.new("RGB", (3, 2), "teal"), "$x")
    assert not any(spine.get_visible() for spine in second.spines.values())
    assert (list(second.get_xticks()), list(second.get_yticks())) == ([], [])
    assert (second.get_title(), second.title.get_fontsize()) == ("$x", 8)
    (drawn,) = second.images
    assert drawn.get_interpolation() == "nearest"
    assert np.asarray(drawn.get_array()).shape == (2, 3, 3)


def test_long_names_are_cut() -> None:
    assert plots._short("sixteen letters!") == "sixteen letters!"
    assert plots._short("seventeen letters") == "seventeen lette…"
    assert plots._short("four", 3) == "fo…"
