"""The ranking and the chart of cost: every explainer named, none on another."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

from iavit.report.cost import DOT, FRAME, Box, Priced, cost, label_boxes
from iavit.report.ranking import Ranked, ranking

NAMES = [f"explainer_number_{index:02d}"[: 6 + index] for index in range(19)]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def drawn(rows: list[Ranked]) -> str:
    return ranking(rows, name="x", label="a ranking", x_label="difference")


def touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


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
    assert unsure.count("fill: var(--paper)") == 1
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
    assert ("text-anchor: end" in (word.get("style") or "")) == (low == 0.6)


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


def test_a_ranking_of_one_without_an_interval() -> None:
    assert "a" in texts(drawn([Ranked("a", 0.5, 0.5, 0.5)]))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("spread", [8.0, 60.0, 400.0])
def test_no_label_on_a_dot_or_another_label(seed: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    near = random.uniform((70, 200), (70 + spread, 200 + spread / 3), size=(19, 2))
    places = [(float(x), float(y)) for x, y in near]
    taken = [(560.0, 60.0, 620.0, 76.0)]
    boxes = label_boxes(places, NAMES, taken)
    assert len(boxes) == 19
    for a, b in itertools.combinations([*boxes, *taken], 2):
        assert not touch(a, b)
    for (x, y), box in itertools.product(places, boxes):
        assert not touch((x - DOT, y - DOT, x + DOT, y + DOT), box)
    for left, bottom, right, top in boxes:
        assert FRAME[0] <= left < right <= FRAME[2]
        assert FRAME[1] <= bottom < top <= FRAME[3]


def test_a_lonely_label_stands_right_beside_its_dot() -> None:
    ((left, bottom, right, top),) = label_boxes([(200.0, 150.0)], ["abc"], [])
    assert 205 <= left <= 210
    assert bottom < 150 < top
    assert right - left == pytest.approx(0.56 * 11 * 3)


def test_a_dot_that_is_hemmed_in_still_has_a_label() -> None:
    everywhere = (-1000.0, -1000.0, 1000.0, 1000.0)
    assert len(label_boxes([(200.0, 150.0)], ["abc"], [everywhere])) == 1


def test_cost_names_every_dot_and_what_knows_nothing() -> None:
    dots = [Priced(name, 10.0**i, 0.1 * i, i == 2) for i, name in enumerate("abcde")]
    told = texts(cost(dots, ("random", 0.0), name="x", label="cost"))
    assert {"a", "b", "c", "d", "e", "random", "milliseconds an image"} <= set(told)
    assert "1,000" in told  # a logarithmic axis, a label a power of ten
    assert "random" not in texts(cost(dots, None, name="x", label="cost"))


def test_cost_of_a_single_explainer() -> None:
    assert "a" in texts(cost([Priced("a", 0.3, 0.5)], None, name="x", label="cost"))
