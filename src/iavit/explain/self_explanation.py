"""Explanations that the model gives of itself, in the forward pass that predicts."""

from __future__ import annotations

from torch import Tensor, nn

from iavit.model.explainable import explaining, interpreted
from iavit.types import Explanation


def interpreter(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """The interpreter's attention, (B, h, w): the same for every target (arXiv 2309.08035).

    Raises `UserError` for a model without an interpreter.
    """
    interpretable = interpreted(model, "interpreter")
    with explaining(model, images, targets) as (predictor, images, targets):
        tokens = interpretable(images, attention="none").interpreter_tokens
        received = interpretable.interpreter.attention(tokens).mean(dim=1)  # over queries, (B, N)
    return Explanation(received.unflatten(1, predictor.grid), targets, "interpreter")


def contributions(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """What each patch adds to the interpreter's logit of the target, (B, h, w), signed.

    Raises `UserError` for a model without an interpreter.
    """
    interpretable = interpreted(model, "contributions")
    with explaining(model, images, targets) as (predictor, images, targets):
        tokens = interpretable(images, attention="none").interpreter_tokens
        to_target = interpretable.interpreter.contributions_to(tokens, targets)
        maps = to_target.unflatten(1, predictor.grid)
    return Explanation(maps, targets, "contributions", signed=True)
