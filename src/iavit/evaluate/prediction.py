"""How good the predictions are: accuracy and calibration."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from iavit.types import Score

BINS = 15


def accuracy(logits: Tensor, labels: Tensor, name: str) -> Score:
    """1 where the largest logit is the label's, else 0; logits (B, C), labels (B,)."""
    return Score((logits.argmax(dim=-1) == labels).float(), name, "higher")


def expected_calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Mean gap between confidence and accuracy over 15 bins of equal width, from 0 to 1.

    logits: (B, C). Source: Naeini et al., AAAI 2015, as torchmetrics has it.
    """
    error = multiclass_calibration_error(
        torch.softmax(logits, dim=-1), labels, num_classes=logits.shape[1], n_bins=BINS
    )
    return float(error)
