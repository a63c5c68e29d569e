from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from iavit.evaluate import statistics
from iavit.evaluate.evaluation import UNDEFINED, Comparison, Figure
from iavit.evaluate.statistics import (
    RESAMPLES,
    compare,
    holm,
    interval,
    intervals,
    rank_correlation,
    share_interval,
    sign_flip_p,
)
from tests.reference import evaluate as twin


def test_a_constant_has_an_interval_of_no_width() -> None:
    assert interval(torch.full((7,), 0.25)) == Figure(0.25, 0.25, 0.25)


def test_undefined_images_are_left_out() -> None:
    values = torch.tensor([1.0, math.nan, 3.0, math.nan])
    assert interval(values).mean == 2.0


def test_nothing_defined_has_no_figure() -> None:
    assert interval(torch.full((3,), math.nan)) == UNDEFINED


def test_the_interval_has_the_width_of_the_standard_error() -> None:
    values = torch.randn(2_000, generator=torch.Generator().manual_seed(0)) * 3 + 5
    figure = interval(values)
    assert figure.mean is not None
    assert figure.low is not None
    assert figure.high is not None
    expected = 1.96 * float(values.std()) / math.sqrt(len(values))
    assert figure.high - figure.mean == pytest.approx(expected, rel=0.06)
    assert figure.mean - figure.low == pytest.approx(expected, rel=0.06)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for _ in range(200):
        figure = interval(torch.rand(60, generator=generator))
        assert figure.low is not None
        assert figure.high is not None
        covered += figure.low <= 0.5 <= figure.high
    assert 0.90 <= covered / 200 <= 0.98


def test_the_same_seed_gives_the_same_interval() -> None:
    values = torch.rand(50, generator=torch.Generator().manual_seed(2))
    assert interval(values, seed=3) == interval(values, seed=3)
    assert interval(values, seed=3) != interval(values, seed=4)
    assert interval(values) == interval(values, seed=0)
    assert rank_correlation(values, values**2 % 0.1) == rank_correlation(
        values, values**2 % 0.1, seed=0
    )
    doubtful = values[:, None] - 0.4
    assert sign_flip_p(doubtful) == sign_flip_p(doubtful, seed=0) != sign_flip_p(doubtful, seed=1)
    named = compare("deletion", {"a": values, "b": values.flip(0)}, seed=0)
    assert compare("deletion", {"a": values, "b": values.flip(0)}) == named


def test_pairing_removes_what_both_share() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(500, generator=generator) * 10
    a = image + 0.1 + 0.01 * torch.randn(500, generator=generator)
    (comparison,) = compare("difference", {"a": a, "b": image})
    figure = comparison.figure
    assert figure.low is not None
    assert figure.high is not None
    assert 0.09 < figure.low < figure.high < 0.11


def test_a_figure_is_the_percentiles_of_resampled_means() -> None:
    values = torch.rand(23, dtype=torch.float64)
    chosen = np.random.default_rng(5).integers(23, size=(RESAMPLES, 23))
    low, high = np.percentile([values.numpy()[row].mean() for row in chosen], [2.5, 97.5])
    expected = (float(values.mean()), low, high)
    assert astuple(interval(values, seed=5)) == pytest.approx(expected)


def test_blocks_of_samples_are_the_samples_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    values, others = torch.rand(23), torch.rand(23)
    whole = interval(values), rank_correlation(values, others)
    monkeypatch.setattr(statistics, "BLOCK", 23 * 7 + 5)  # seven samples at a time
    again = interval(values), rank_correlation(values, others)
    for one, two in zip(whole, again, strict=True):
        assert astuple(one) == pytest.approx(astuple(two))


def test_columns_get_the_interval_they_have_alone() -> None:
    table = torch.rand(29, 5)
    table[3, 1] = table[7, 1] = table[3, 4] = math.nan
    table[:, 2] = math.nan
    together = intervals(table)
    for column in range(5):
        assert astuple(together[column]) == pytest.approx(astuple(interval(table[:, column])))
    assert together[2].mean is None


@pytest.mark.parametrize("count", [1, 5, 11])
def test_few_images_are_tested_with_every_pattern_of_signs(count: int) -> None:
    differences = torch.randn(count, 3, dtype=torch.float64) + 0.4
    expected = [twin.permutation_p(column.tolist()) for column in differences.T]
    assert sign_flip_p(differences) == pytest.approx(expected)


def test_p_by_hand() -> None:
    # 1, 2, 4: of the sums 7, 5, 3, 1 and their opposites, 2 of 8 are as far out as 7
    # 1, 2, -4: 8 of 8 are as far out as 1; all 0: every pattern is
    differences = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 0.0], [4.0, -4.0, 0.0]])
    assert sign_flip_p(differences) == [0.25, 1.0, 1.0]


def test_many_images_are_tested_with_some_patterns_that_never_say_zero() -> None:
    sure = torch.rand(50, 1) + 1
    assert sign_flip_p(sure) == [1 / 10_000]
    torch.manual_seed(3)
    doubtful = torch.randn(14, 1, dtype=torch.float64) + 0.4
    (found,) = sign_flip_p(doubtful)
    assert found == pytest.approx(twin.permutation_p(doubtful[:, 0].tolist()), abs=0.01)


def test_p_leaves_undefined_images_out() -> None:
    few = torch.tensor([1.0, 2.0, 4.0, 5.0, 3.0])
    spread = torch.full((12,), math.nan)
    spread[[1, 4, 5, 8, 11]] = few
    assert sign_flip_p(spread[:, None]) == sign_flip_p(few[:, None]) == [2 / 32]
    assert sign_flip_p(torch.full((3, 1), math.nan)) == [None]


def test_noise_alone_is_found_as_often_as_it_should_be() -> None:
    noise = torch.randn(40, 400, generator=torch.Generator().manual_seed(0))
    small = sum(p is not None and p <= 0.05 for p in sign_flip_p(noise))
    assert 0.03 <= small / 400 <= 0.07


def test_holm_by_hand() -> None:
    # 3 * 0.01, then 2 * 0.02 and 1 * 0.04, none below the one before
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_is_the_smallest_level_at_which_its_procedure_rejects() -> None:
    p = torch.rand(7, generator=torch.Generator().manual_seed(0)).pow(2).tolist()
    assert holm(p) == pytest.approx(twin.holm(p))


def test_a_comparison_says_what_is_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(60, generator=generator)
    noise = 0.1 * torch.randn(60, 2, generator=generator)
    better = a - 0.05 + noise[:, 0]
    same = a + noise[:, 1] - noise[:, 1].mean()
    undefined = torch.full((60,), math.nan)
    values = {"first": a, "better": better, "same": same, "undefined": undefined}
    clear, none, missing = compare("insertion", values)
    assert (clear.metric, clear.a, clear.b) == ("insertion", "first", "better")
    assert not clear.inside_noise
    assert clear.figure.mean == pytest.approx(float((a - better).mean()), abs=1e-6)
    assert clear.p is not None
    assert clear.adjusted_p == pytest.approx(2 * clear.p)  # two comparisons are defined
    assert none.inside_noise
    assert missing == Comparison("insertion", "first", "undefined", UNDEFINED, None, None, True)
    assert compare("insertion", {"alone": a}) == []


def test_many_comparisons_make_noise_of_what_one_alone_would_be() -> None:
    generator = torch.Generator().manual_seed(1)
    a = torch.zeros(40)
    weak = -0.4 + torch.randn(40, generator=generator)
    (alone,) = compare("difference", {"a": a, "weak": weak})
    assert not alone.inside_noise
    crowd = torch.randn(40, 40, generator=generator)
    others = {str(number): column for number, column in enumerate(crowd.T)}
    among = compare("difference", {"a": a, "weak": weak, **others})[0]
    assert among.p == alone.p
    assert among.figure.low is not None
    assert among.figure.low > 0
    assert among.inside_noise


def test_rank_correlation_by_hand() -> None:
    up = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert rank_correlation(up, up**3).mean == pytest.approx(1)
    assert rank_correlation(up, -up).mean == pytest.approx(-1)
    # 1 - 6 (1 + 1 + 1 + 1) / (5 * 24), two pairs of neighbours changed.
    mixed = torch.tensor([2.0, 1.0, 4.0, 3.0, 5.0])
    assert rank_correlation(up, mixed).mean == pytest.approx(0.8)
    nan = torch.tensor([math.nan])
    with_nan = rank_correlation(torch.cat([nan, up]), torch.cat([up[:1], mixed]))
    assert with_nan == rank_correlation(up, mixed)


def test_rank_correlation_equals_scipys_with_ties_and_its_interval_a_plain_bootstrap() -> None:
    generator = np.random.default_rng(1)
    a = generator.integers(7, size=59).astype(float)
    b = a + generator.integers(9, size=59)
    found = rank_correlation(torch.tensor(a), torch.tensor(b))
    assert found.mean == pytest.approx(spearmanr(a, b).statistic)
    drawn = [
        spearmanr(a[rows], b[rows]).statistic for rows in generator.integers(59, size=(800, 59))
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_a_constant_has_no_rank_correlation() -> None:
    assert rank_correlation(torch.ones(5), torch.arange(5)) == UNDEFINED
    assert rank_correlation(torch.ones(0), torch.ones(0)) == UNDEFINED


def test_a_share_of_all_images_still_has_an_interval() -> None:
    """Wilson's interval of n of n ends at n / (n + z squared), z being 1.96."""
    found = share_interval(9, 9)
    assert found.mean == 1.0
    assert found.high == pytest.approx(1.0)
    assert found.low == pytest.approx(9 / (9 + 1.959964**2), abs=1e-6)
    assert share_interval(0, 0) == UNDEFINED


def test_a_share_has_a_width_where_all_are_right() -> None:
    """Wilson by hand: n / (n + z^2) to 1 where all of n are right, z = 1.96."""
    figure = interval(torch.ones(17))
    assert figure.mean == 1.0
    assert figure.low == pytest.approx(17 / (17 + 1.959964**2), abs=1e-6)
    assert figure.high == pytest.approx(1.0)
    undefined = torch.tensor([1.0, 0.0, math.nan, 1.0])
    assert interval(undefined) == interval(torch.tensor([1.0, 0.0, 1.0]))


def test_differences_that_happen_to_be_0_and_1_are_no_share() -> None:
    a, b = torch.ones(12), torch.zeros(12)
    (comparison,) = compare("pointing_game", {"a": a, "b": b})
    assert comparison.figure == Figure(1.0, 1.0, 1.0)


@pytest.mark.parametrize("value", [1.0, 0.37])
def test_one_image_has_no_interval(value: float) -> None:
    values = torch.tensor([[math.nan, 0.2], [value, 0.4]], dtype=torch.float64)
    one, two = intervals(values)
    assert one == Figure(value, None, None)
    assert two.low == pytest.approx(0.2)
    (comparison,) = compare("difference", {"a": values[1:, 0], "b": values[1:, 1]})
    assert comparison.figure == Figure(value - 0.4, None, None)
    assert comparison.inside_noise
