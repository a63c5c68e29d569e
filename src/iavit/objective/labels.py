"""The predictor learns the labels, of whole images and of images with patches missing."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from iavit.config import ObjectiveConfig
from iavit.objective.inputs import Inputs


def cross_entropy_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor | None:
    """`cross_entropy(f, y)`, batch mean; None without labels."""
    if inputs.labels is None:
        return None
    smoothing = config.label_smoothing
    return F.cross_entropy(inputs.output.logits, inputs.labels, label_smoothing=smoothing)


def masked_cross_entropy_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor | None:
    """The same of the masked copies; None where there are none, or no labels."""
    if inputs.copies is None or inputs.labels is None:
        return None
    logits = inputs.copies.logits
    labels = inputs.labels[: len(logits)]
    return F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
