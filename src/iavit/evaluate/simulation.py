"""Does the interpreter say what the predictor says?"""

from __future__ import annotations

from torch import Tensor

from iavit.types import Score


def agreement(logits: Tensor, interpreter_logits: Tensor) -> Score:
    """1 where predictor and interpreter choose the same class, else 0; both (B, C)."""
    same = logits.argmax(dim=-1) == interpreter_logits.argmax(dim=-1)
    return Score(same.float(), "agreement", "higher")


def divergence(logits: Tensor, interpreter_logits: Tensor) -> Score:
    """`KL(softmax(f) || softmax(g))` of each image, in nats."""
    log_f, log_g = logits.log_softmax(dim=-1), interpreter_logits.log_softmax(dim=-1)
    return Score((log_f.exp() * (log_f - log_g)).sum(dim=-1), "divergence", "lower")
