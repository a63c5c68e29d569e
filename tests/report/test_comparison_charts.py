"""The ranking and the chart of cost: every explainer can be told apart."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from iavit.report import comparison_charts
from iavit.report.comparison_charts import (
    DOT,
    NUMBER,
    RADII,
    SCATTER,
    Priced,
    Ranked,
    number_places,
    ranking,
    scatter,
)

NAMES = [f"explainer_number_{index:02d}"[: 6 + index] for index in range(19)]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def drawn(rows: list[Ranked]) -> str:
    return ranking(rows, name="x", label="a ranking", x_label="difference")


def test_a_ranking_names_every_row_in_order() -> None:
    rows = [Ranked(name, 0.5 - i, 0.4 - i, 0.6 - i) for i, name in enumerate(NAMES)]
    told = texts(drawn(rows))
    assert [text for text in told if text in NAMES] == NAMES
    assert "difference" in told
    assert "within noise" not in told


def test_noise_is_a_hollow_dot_and_a_word() -> None:
    sure, unsure = (
        drawn([Ranked("a", 0.5, 0.4, 0.6, True), Ranked("b", 0.45, 0.4, 0.5, word=word)])
        for word in ("", "within noise")
    )
    assert texts(unsure).count("within noise") == 1
    assert unsure.count('fill="var(--paper)"') == 1
    assert "var(--paper)" not in sure


@pytest.mark.parametrize("low", [0.1, 0.6])
def test_the_word_keeps_to_the_side_with_room(low: float) -> None:
    rows = [
        Ranked("a", 0.95, 0.9, 1.0),
        Ranked("b", low + 0.1, low, low + 0.2, word="within noise"),
        Ranked("c", 0.1, 0.0, 0.2),
    ]
    svg = ElementTree.fromstring(drawn(rows))
    (word,) = [element for element in svg.iter("text") if element.text == "within noise"]
    assert (word.get("text-anchor") == "end") == (low == 0.6)


def test_what_is_far_off_is_told_and_leaves_room_for_the_intervals() -> None:
    near = [Ranked("a", 0.7, 0.69, 0.71), Ranked("b", 0.6, 0.59, 0.61)]
    rows = [*near, Ranked("random", -0.0057, -0.02, 0.01)]
    told, plain = (
        texts(ranking(rows, name="x", label="x", x_label="x", far=far)) for far in ("random", "")
    )
    assert "\N{LEFTWARDS ARROW} \N{MINUS SIGN}0.006" in told
    assert "0" not in told
    assert {"0", "random"} <= set(plain)
    assert not any("\N{LEFTWARDS ARROW}" in text for text in plain)
    inside = ranking(
        [*near, Ranked("random", 0.65, 0.64, 0.66)], name="x", label="x", x_label="x", far="random"
    )
    assert not any("\N{LEFTWARDS ARROW}" in text for text in texts(inside))


def test_what_reaches_into_the_margin_is_drawn() -> None:
    rows = [Ranked("a", 0.5, 0.0, 1.0), Ranked("random", 0.0, -0.05, 0.05)]
    written = texts(ranking(rows, name="x", label="x", x_label="x", far="random"))
    assert not any("\N{RIGHTWARDS ARROW}" in text for text in written)


def test_a_ranking_of_one_without_an_interval() -> None:
    assert "a" in texts(drawn([Ranked("a", 0.5, 0.5, 0.5)]))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("spread", [60.0, 400.0])
def test_no_number_on_a_dot_or_another_number(seed: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    near = random.uniform((70, 200), (70 + spread, 200 + spread / 3), size=(19, 2))
    places = [(float(x), float(y)) for x, y in near]
    numbers = number_places(places)
    assert len(numbers) == 19
    for a, b in itertools.combinations(numbers, 2):
        assert math.dist(a, b) >= NUMBER
    for dot, number in itertools.product(places, numbers):
        assert math.dist(dot, number) >= DOT


def test_a_lonely_number_stands_right_above_its_dot() -> None:
    assert number_places([(200.0, 150.0)])[0] == pytest.approx((200.0, 150.0 + RADII[0]))


def test_dots_on_one_place_still_have_a_number_each() -> None:
    assert len(set(number_places([(200.0, 150.0)] * 9))) == 9


def test_cost_numbers_every_dot_and_names_what_knows_nothing() -> None:
    dots = [Priced(name, 10.0**i, 0.1 * i, i == 2) for i, name in enumerate("abcde")]
    written = texts(scatter(dots, ("random", 0.0), name="x", label="cost"))
    assert {"1", "2", "3", "4", "5", "random", "milliseconds an image"} <= set(written)
    assert "1,000" in written  # a logarithmic axis, a label a power of ten
    assert "random" not in texts(scatter(dots, None, name="x", label="cost"))


def test_a_costlier_explainer_lies_further_right_and_a_truer_one_higher() -> None:
    dots = [Priced("a", 1.0, 0.1), Priced("b", 100.0, 0.5), Priced("c", 10.0, 0.9)]
    svg = ElementTree.fromstring(scatter(dots, None, name="x", label="cost"))
    marks = [use for use in svg.iter("use") if use.get("fill-opacity") is None]
    x, y = ([float(use.get(axis) or 0) for use in marks[-3:]] for axis in "xy")
    assert x[0] < x[2] < x[1]
    assert y[2] < y[1] < y[0]  # an SVG counts from above


def test_cost_of_a_single_explainer() -> None:
    assert "1" in texts(scatter([Priced("a", 0.3, 0.5)], None, name="x", label="cost"))


def test_costs_that_lie_near_each_other_have_more_than_one_label() -> None:
    """From 0.7 to 4.6 ms, as of the demo's quick explainers, there is one power of ten."""
    dots = [Priced("a", 0.7, 0.1), Priced("b", 4.6, 0.5)]
    written = texts(scatter(dots, None, name="x", label="cost"))
    assert {"0.5", "1", "2", "5"} <= set(written)


def test_names_are_written_as_they_are() -> None:
    assert "cost_$a^2$" in texts(drawn([Ranked("cost_$a^2$", 0.5, 0.4, 0.6)]))


def test_a_row_lies_between_its_ends_by_the_axis() -> None:
    """From 0.2 to 0.6 about 0.3, in the same places as the axis has its numbers."""
    svg = ElementTree.fromstring(drawn([Ranked("a", 0.3, 0.2, 0.6), Ranked("b", 0.5, 0.0, 1.0)]))
    lines = [path.get("d") or "" for path in svg.iter("path") if path.get("stroke-width") == "5"]
    ends = [[float(number) for number in re.findall(r"-?[\d.]+", line)] for line in lines]
    (low, height, high, _), (start, below, end, _) = ends
    assert height < below  # an SVG counts from above
    assert (low - start) / (end - start) == pytest.approx(0.2, abs=1e-3)
    assert (high - start) / (end - start) == pytest.approx(0.6, abs=1e-3)
    dots = [float(use.get("x") or 0) for use in svg.iter("use")]
    assert any(abs((dot - start) / (end - start) - 0.3) < 1e-3 for dot in dots)


def test_dots_lie_by_the_logarithm_of_their_cost_with_room_at_both_ends() -> None:
    """From half the least cost to twice the largest, on an axis between both margins."""
    dots = [Priced("a", 1.0, 0.1), Priced("b", 100.0, 0.5), Priced("c", 10.0, 0.9)]
    svg = ElementTree.fromstring(scatter(dots, None, name="x", label="cost"))
    marks = [use for use in svg.iter("use") if use.get("fill-opacity") is None]
    found = [float(use.get("x") or 0) for use in marks[-3:]]
    left, right = 52, SCATTER[0] - 16
    expected = [
        left + (right - left) * math.log(cost / 0.5) / math.log(200 / 0.5) for cost in (1, 100, 10)
    ]
    assert found == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(("subject", "size", "weight"), [(True, 7, "bold"), (False, 5, "normal")])
def test_the_subject_has_a_larger_dot_and_a_bold_number(
    subject: bool, size: int, weight: str
) -> None:
    axes = Figure().subplots()
    comparison_charts._draw(axes, Priced("a", 10.0, 0.5, subject), "3", (0.0, RADII[0]))
    (dot,), (number,) = axes.lines, axes.texts
    assert np.asarray(dot.get_xydata()).tolist() == [[10.0, 0.5]]
    assert dot.get_markersize() == size
    assert (number.get_text(), number.get_fontweight()) == ("3", weight)
