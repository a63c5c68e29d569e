"""Rates and gaps of confusion matrices by hand; gaps against a slow twin are in test_fairness."""

from __future__ import annotations

import numpy as np
import pytest

from iavit.evaluate.confusion import RESAMPLES, bounds, class_gaps, confusions, rates, resampled

# By group, true class and predicted class.
TWO = np.array([[[40, 20], [10, 30]], [[17, 3], [18, 12]]])
THREE = np.array([[5, 2, 0], [1, 7, 3], [0, 0, 0]])  # no image of the last class


def test_counts_by_group_true_class_and_predicted_class() -> None:
    labels, predicted = np.array([0, 2, 2, 1]), np.array([0, 1, 1, 2])
    found = confusions(labels, predicted, np.array([1, 0, 0, 1]), (2, 3))
    assert found[0].tolist() == [[0, 0, 0], [0, 0, 0], [0, 2, 0]]
    assert found[1].tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_two_classes_have_the_rates_of_the_second() -> None:
    found = rates(TWO)
    assert found["accuracy"].tolist() == pytest.approx([70 / 100, 29 / 50])
    assert found["balanced_accuracy"].tolist() == pytest.approx(
        [(40 / 60 + 30 / 40) / 2, (17 / 20 + 12 / 30) / 2]
    )
    assert found["selection_rate"].tolist() == [[0.5], [0.3]]
    assert found["true_positive_rate"].tolist() == [[30 / 40], [12 / 30]]
    assert found["false_positive_rate"].tolist() == [[20 / 60], [3 / 20]]


def test_of_more_each_has_its_own_and_one_without_images_has_none() -> None:
    found = rates(THREE)
    assert found["selection_rate"].tolist() == pytest.approx([6 / 18, 9 / 18, 3 / 18])
    assert found["true_positive_rate"][:2].tolist() == pytest.approx([5 / 7, 7 / 11])
    assert np.isnan(found["true_positive_rate"][2])
    assert found["false_positive_rate"].tolist() == pytest.approx([1 / 11, 2 / 7, 3 / 18])
    assert np.isnan(found["balanced_accuracy"])


def test_odds_are_the_larger_of_two_gaps() -> None:
    found = class_gaps(rates(TWO))
    assert found["demographic_parity"].tolist() == pytest.approx([0.2])
    assert found["equal_opportunity"].tolist() == pytest.approx([30 / 40 - 12 / 30])
    assert found["equalised_odds"].tolist() == pytest.approx([30 / 40 - 12 / 30])
    swapped = class_gaps(rates(TWO[:, ::-1, ::-1]))  # the other class: false positives differ more
    assert swapped["equal_opportunity"].tolist() == pytest.approx([17 / 20 - 40 / 60])
    assert swapped["equalised_odds"].tolist() == pytest.approx([18 / 30 - 10 / 40])


def test_draws_keep_the_images_of_each_group() -> None:
    blocks = list(resampled(TWO, seed=3))
    draws = np.concatenate(blocks)
    assert draws.shape == (RESAMPLES, 2, 2, 2)
    assert (draws.sum(axis=(2, 3)) == [100, 50]).all()
    assert draws.mean(axis=0) == pytest.approx(TWO, abs=0.4)
    assert draws[:, 0, 1, 1].std() == pytest.approx(np.sqrt(100 * 0.3 * 0.7), rel=0.1)
    assert np.array_equal(blocks[0], next(resampled(TWO, seed=3)))


def test_bounds_are_percentiles_of_what_is_defined() -> None:
    draws = np.append(np.arange(1001.0), [np.nan, np.nan])
    assert bounds(draws) == pytest.approx((25.0, 975.0))
    assert bounds(np.array([np.nan])) == (None, None)
