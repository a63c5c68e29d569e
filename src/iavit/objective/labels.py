"""The predictor learns the labels, of whole images and of images with patches missing."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from iavit.config import ObjectiveConfig
from iavit.objective.inputs import Inputs


def cross_entropy_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor:
    """`cross_entropy(f, y)`, batch mean."""
    smoothing = config.label_smoothing
    return F.cross_entropy(inputs.output.logits, inputs.labels, label_smoothing=smoothing)


def masked_cross_entropy_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor | None:
    """The same of the masked copies; None where there are none."""
    if inputs.copies is None:
        return None
    logits = inputs.copies.logits
    labels = inputs.labels[: len(logits)]
    return F.cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
