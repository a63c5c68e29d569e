"""The notebook's figures by group, as its code has them."""

from __future__ import annotations

import numpy as np
import pytest

from iavit.evaluate import confusion
from iavit.evaluate.authors_fairness import authors_fairness
from tests.evaluate.test_fairness import drawn


def test_the_notebook_says_so_of_sklearns_matrix_with_its_arguments_swapped() -> None:
    from sklearn.metrics import confusion_matrix

    of = drawn(2, 2)
    counts = confusion.confusions(
        of.labels.numpy(), of.predicted.numpy(), of.groups.numpy(), (2, 2)
    )
    rates = []
    for group in (0, 1):
        chosen = of.groups == group
        tn, fp, fn, tp = confusion_matrix(of.predicted[chosen], of.labels[chosen]).ravel()
        rates.append((tp / (tp + fn), tn / (tn + fp), fp / (tn + fp)))
    (tpr0, tnr0, fpr0), (tpr1, tnr1, fpr1) = rates
    found = authors_fairness(counts)
    assert found["DP"] == pytest.approx(abs(tpr1 - tpr0))
    assert found["Equal Odds"] == pytest.approx(0.5 * abs(tpr1 - tpr0) + 0.5 * abs(fpr1 - fpr0))
    assert found["BA"] == pytest.approx(0.25 * (tpr0 + tnr0 + tpr1 + tnr1))


# By group, true class and predicted class: women tn 40, fp 20, fn 10, tp 30; men 17, 3, 18, 12.
COUNTS = np.array([[[40, 20], [10, 30]], [[17, 3], [18, 12]]])


def test_its_rates_are_shares_of_what_was_predicted() -> None:
    assert authors_fairness(COUNTS) == pytest.approx(
        {
            "Accuracy": (70 / 100 + 29 / 50) / 2,
            "DP_Acc": 70 / 100 - 29 / 50,
            "DP": 12 / 15 - 30 / 50,  # a gap of precision
            "BA": (30 / 50 + 40 / 50 + 12 / 15 + 17 / 35) / 4,
            "Equal Odds": ((12 / 15 - 30 / 50) + (18 / 35 - 10 / 50)) / 2,
            "Difference BA": (30 / 50 + 40 / 50 - 12 / 15 - 17 / 35) / 2,
        }
    )


def test_a_group_of_which_nothing_is_predicted_positive_has_no_precision() -> None:
    counts = COUNTS.copy()
    counts[1, :, 1] = 0
    found = authors_fairness(counts)
    assert found["DP"] is None
    assert found["Equal Odds"] is None
    assert found["DP_Acc"] == pytest.approx(70 / 100 - 17 / 35)


def test_it_is_of_two_groups_and_two_classes() -> None:
    with pytest.raises(ValueError, match="two groups and two classes"):
        authors_fairness(np.ones((3, 2, 2)))
