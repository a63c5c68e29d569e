from __future__ import annotations

import math

import pytest
import torch

from iavit.evaluate.evaluation import UNDEFINED, Figure
from iavit.experiments.seeds import Estimate, difference, over_seeds, pooled_difference
from iavit.experiments.tables import MINUS, shown


def figure(mean: float | None, half: float = 0.1) -> Figure:
    if mean is None:
        return UNDEFINED
    return Figure(mean, mean - half, mean + half)


def test_three_seeds_by_hand() -> None:
    of = over_seeds([figure(0.2), figure(0.5), figure(0.8)])
    assert of is not None
    assert of.count == 3
    assert [of.mean, of.spread] == pytest.approx([0.5, 0.3])
    half = 4.302652729911275 * 0.3 / math.sqrt(3)  # Student's t of two degrees of freedom
    assert [of.low, of.high] == pytest.approx([0.5 - half, 0.5 + half])


def test_a_single_seed_keeps_its_interval_over_images() -> None:
    of = over_seeds([figure(0.4), None, figure(None)])
    assert of is not None
    assert [of.mean, of.low, of.high] == pytest.approx([0.4, 0.3, 0.5])
    assert (of.spread, of.count) == (None, 1)
    assert over_seeds([None, figure(None)]) is None


def test_differences_pair_what_both_have() -> None:
    of = difference([(figure(0.5), figure(0.2)), (figure(0.6), figure(0.1)), (None, figure(0.1))])
    assert of is not None
    assert of.count == 2
    assert of.mean == pytest.approx(0.4)
    one = difference([(figure(0.5, 0.3), figure(0.1, 0.4))])
    assert one is not None
    assert [one.low, one.high] == pytest.approx([0.4 - 0.5, 0.4 + 0.5])
    assert difference([(None, figure(0.1))]) is None


def test_pooled_differences_are_over_all_images() -> None:
    a, b = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, 1.0])
    of = pooled_difference([(a, b), (b, b)])
    assert of is not None
    assert of.mean == pytest.approx(1 / 6)
    assert of.low is not None
    assert of.low <= of.mean
    assert pooled_difference([]) is None


def test_figures_as_they_are_read() -> None:
    assert shown(None, "number") == "–"
    assert shown(Estimate(0.961, 0.95, 0.97, 0.012, 3), "percent") == "96.1 ± 1.2 %"
    assert shown(Estimate(0.961, 0.95, 0.97, None, 1), "percent") == "96.1 [95.0, 97.0] %"
    assert (
        shown(Estimate(-0.004, -0.01, 0.002, 0.1, 3), "points") == f"{MINUS}0.4 [{MINUS}1.0, 0.2]"
    )
    assert shown(Estimate(0.0004, None, None, None, 1), "change") == "0.000"
    assert shown(Estimate(0.5, 0.4, 0.6, None, 1), "change") == "+0.500 [0.400, 0.600]"
    assert shown(Estimate(0.5, 0.4, 0.6, 0.125, 2), "number") == "0.500 ± 0.125"
    assert shown(Estimate(-0.0004, None, None, None, 1), "number") == "0.000"
    assert shown(Estimate(0.5, 0.4, None, None, 1), "percent") == "50.0 %"
    assert shown(Estimate(0.5, 0.4, 0.6, 0.125, 2), "points") == "+50.0 [40.0, 60.0]"


def test_figures_without_an_interval_have_a_difference() -> None:
    bare, wide = Figure(0.75, None, None), Figure(0.25, 0.125, 0.5)
    of = difference([(bare, wide), (None, wide), (figure(None), wide), (wide, None)])
    assert of == Estimate(0.5, 0.5 - 0.1875, 0.5 + 0.1875, None, 1)
    assert difference([(wide, bare)]) == Estimate(-0.5, -0.6875, -0.3125, None, 1)
    assert difference([(bare, Figure(0.5, 0.25, None))]) == Estimate(0.25, 0.25, 0.25, None, 1)
    assert over_seeds([bare]) == Estimate(0.75, None, None, None, 1)
    assert difference([]) is None


def test_a_difference_over_seeds_has_its_spread() -> None:
    pairs = [(figure(0.5), figure(0.25)), (figure(0.75), figure(0.25)), (figure(0.5), figure(0.0))]
    of = difference(pairs)
    assert of is not None
    assert of.count == 3
    assert of.mean == pytest.approx(1.25 / 3)
    assert of.spread is not None
    assert of.spread == pytest.approx(math.sqrt(((0.25 - 1.25 / 3) ** 2 + 2 / 144) / 2))
    assert of.high is not None
    assert of.low is not None
    assert of.high - of.low == pytest.approx(2 * 4.302652729911275 * of.spread / math.sqrt(3))


def test_pooled_pairs_are_counted_and_have_an_interval_over_images() -> None:
    a, b = torch.tensor([True, False, True, True]), torch.tensor([False, True, True, False])
    of = pooled_difference([(a, b), (a, a), (b, b)])
    assert of is not None
    assert of.mean == pytest.approx(1 / 12)
    assert (of.spread, of.count) == (None, 3)
    assert of.low is not None
    assert of.high is not None
    assert -0.5 < of.low < 0 < of.mean < of.high < 0.5
    nothing = torch.tensor([math.nan])
    assert pooled_difference([(nothing, nothing)]) is None
