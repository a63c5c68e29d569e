from __future__ import annotations

import pytest
import torch

from iavit.evaluate.prediction import (
    BINS,
    accuracy,
    agreement,
    confusion,
    divergence,
    expected_calibration_error,
)
from tests.reference import evaluate as twin


def test_accuracy_and_agreement_by_hand() -> None:
    f = torch.tensor([[3.0, 1.0], [0.0, 2.0], [5.0, 4.0]])
    g = torch.tensor([[1.0, 0.0], [9.0, 2.0], [0.5, 0.4]])
    labels = torch.tensor([0, 1, 1])
    assert accuracy(f, labels).tolist() == [1.0, 1.0, 0.0]
    assert agreement(f, g).tolist() == [1.0, 0.0, 1.0]


def test_divergence_is_nothing_for_equal_answers_and_positive_otherwise() -> None:
    f = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    assert divergence(f, f + 7).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert (divergence(f, -f) > 0.1).all()


def test_divergence_by_hand() -> None:
    even, sure = torch.log(torch.tensor([[0.5, 0.5]])), torch.log(torch.tensor([[0.8, 0.2]]))
    expected = 0.5 * torch.log(torch.tensor(0.5 / 0.8)) + 0.5 * torch.log(torch.tensor(0.5 / 0.2))
    assert float(divergence(even, sure)) == pytest.approx(float(expected))


def test_calibration_equals_the_twin() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(101, 7, generator=generator)
    labels = torch.randint(7, (101,), generator=generator)
    expected = twin.calibration_error(logits, labels, BINS)
    assert expected_calibration_error(logits, labels) == pytest.approx(expected, abs=1e-5)


def test_always_sure_and_always_wrong_is_wholly_uncalibrated() -> None:
    logits = torch.tensor([[100.0, 0.0]]).expand(5, 2)
    assert expected_calibration_error(logits, torch.ones(5, dtype=torch.long)) == pytest.approx(1.0)


def test_confusion_counts_images_of_a_true_class_in_its_row() -> None:
    logits = torch.eye(3)[[0, 0, 1, 2, 0, 2, 2]]
    labels = torch.tensor([0, 1, 1, 2, 1, 2, 0])
    assert confusion(logits, labels) == ((1, 0, 1), (2, 1, 0), (0, 0, 2))
