from __future__ import annotations

import math

import pytest
import torch

from iavit.evaluate.statistics import interval, paired_difference


def test_a_constant_has_an_interval_of_no_width() -> None:
    assert interval(torch.full((7,), 0.25)) == {"mean": 0.25, "low": 0.25, "high": 0.25}


def test_undefined_images_are_left_out() -> None:
    values = torch.tensor([1.0, math.nan, 3.0, math.nan])
    assert interval(values)["mean"] == 2.0


def test_nothing_defined_has_no_figure() -> None:
    assert interval(torch.full((3,), math.nan)) == {"mean": None, "low": None, "high": None}


def test_the_interval_has_the_width_of_the_standard_error() -> None:
    values = torch.randn(2_000, generator=torch.Generator().manual_seed(0)) * 3 + 5
    figure = interval(values)
    assert figure["mean"] is not None
    assert figure["low"] is not None
    assert figure["high"] is not None
    expected = 1.96 * float(values.std()) / math.sqrt(len(values))
    assert figure["high"] - figure["mean"] == pytest.approx(expected, rel=0.06)
    assert figure["mean"] - figure["low"] == pytest.approx(expected, rel=0.06)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for _ in range(200):
        figure = interval(torch.rand(60, generator=generator))
        assert figure["low"] is not None
        assert figure["high"] is not None
        covered += figure["low"] <= 0.5 <= figure["high"]
    assert 0.90 <= covered / 200 <= 0.98


def test_the_same_seed_gives_the_same_interval() -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(2))
    assert interval(values, seed=3) == interval(values, seed=3)
    assert interval(values, seed=3) != interval(values, seed=4)


def test_pairing_removes_what_both_share() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(500, generator=generator) * 10
    a = image + 0.1 + 0.01 * torch.randn(500, generator=generator)
    figure = paired_difference(a, image)
    assert figure["low"] is not None
    assert figure["high"] is not None
    assert 0.09 < figure["low"] < figure["high"] < 0.11
