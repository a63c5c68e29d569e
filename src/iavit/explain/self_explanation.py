"""Explanations that the model gives of itself, in the forward pass that predicts."""

from __future__ import annotations

from torch import Tensor, nn

from iavit.model.explainable import explaining, interpreted
from iavit.types import Explanation


def interpreter(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """The interpreter's attention, (B, h, w): the same for every target (arXiv 2309.08035).

    Raises `UserError` for a model without an interpreter.
    """
    reads = interpreted(model, "interpreter").interpreter
    with explaining(model, images, targets) as extractor:
        tokens = extractor.patches(extractor.tokens(images))
        received = reads.attention(tokens).mean(dim=1)  # over queries, (B, N)
    return Explanation(received.unflatten(1, extractor.grid), targets, "interpreter")


def contributions(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """What each patch adds to the interpreter's logit of the target, (B, h, w), signed.

    Raises `UserError` for a model without an interpreter.
    """
    reads = interpreted(model, "contributions").interpreter
    with explaining(model, images, targets) as extractor:
        tokens = extractor.patches(extractor.tokens(images))
        maps = reads.contributions_to(tokens, targets).unflatten(1, extractor.grid)
    return Explanation(maps, targets, "contributions", signed=True)
