"""How good predictions are, and how far the interpreter says what the predictor says."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """1 where the largest logit is the label's, else 0: (B,), of logits (B, C), labels (B,)."""
    return (logits.argmax(dim=1) == labels).float()


def agreement(logits: Tensor, interpreter_logits: Tensor) -> Tensor:
    """1 where predictor and interpreter choose the same class, else 0: (B,), of (B, C) each."""
    return (logits.argmax(dim=1) == interpreter_logits.argmax(dim=1)).float()


def divergence(logits: Tensor, interpreter_logits: Tensor) -> Tensor:
    """`KL(softmax(f) || softmax(g))` of each image, in nats: (B,), of (B, C) each."""
    log_f, log_g = logits.log_softmax(dim=1), interpreter_logits.log_softmax(dim=1)
    return (log_f.exp() * (log_f - log_g)).sum(dim=1)


def expected_calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Mean gap between confidence and accuracy over 15 bins of equal width, from 0 to 1.

    logits: (B, C). Source: Naeini et al., AAAI 2015, as torchmetrics has it.
    """
    # Explaining an image does not wait for it.
    from torchmetrics.functional.classification import multiclass_calibration_error

    error = multiclass_calibration_error(
        torch.softmax(logits, dim=1), labels, num_classes=logits.shape[1], n_bins=BINS
    )
    return float(error)


def confusion(logits: Tensor, labels: Tensor) -> tuple[tuple[int, ...], ...]:
    """Images of each true class by the class predicted: row by row, C of C counts.

    logits: (n, C). labels: (n,).
    """
    classes = logits.shape[1]
    pairs = labels * classes + logits.argmax(dim=1)
    counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    return tuple(tuple(row) for row in counts.tolist())
