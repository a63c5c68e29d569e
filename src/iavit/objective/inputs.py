"""What the terms of the objective read: all that one step computes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from iavit.types import Output


@dataclass(frozen=True)
class MaskedCopies:
    """Copies of the first B' images of a batch with random patches missing.

    visible: (B', N) bool, the patches that each copy shows. logits: (B', C), the predictor's.
    """

    visible: Tensor
    logits: Tensor


@dataclass(frozen=True)
class EffectSample:
    """What each patch of the first B' images adds to the class that the predictor chooses.

    contributions, attention: (B', N), by the interpreter. effects: (B', N), samples of the
        predictor's.
    """

    contributions: Tensor
    attention: Tensor
    effects: Tensor


@dataclass(frozen=True)
class Inputs:
    """A batch, and what the model says of it.

    output: of the whole images; the interpreter's part is empty where no term reads it.
    labels: (B,) int64, or (B, C), the probabilities of mixed images; None where the predictor
        does not learn.
    copies, effect: None where no term reads them.
    """

    output: Output
    labels: Tensor | None
    copies: MaskedCopies | None = None
    effect: EffectSample | None = None
