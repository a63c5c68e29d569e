"""Explanations that the model gives of itself, in the forward pass that predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from iavit.model.iavit import IAViT
from iavit.types import Explanation


def interpreter(model: IAViT, images: Tensor, targets: Tensor) -> Explanation:
    """The interpreter's attention, (B, h, w): the same for every target (arXiv 2309.08035)."""
    attention = model(images, aligned=False).interpreter_attention
    return Explanation(attention.unflatten(1, model.grid), targets, "interpreter")


def contributions(model: IAViT, images: Tensor, targets: Tensor) -> Explanation:
    """What each patch adds to the interpreter's logit of the target, (B, h, w), signed."""
    every_class = model.contributions(images)  # (B, N, C)
    chosen = every_class[torch.arange(len(images), device=images.device), :, targets]
    return Explanation(chosen.unflatten(1, model.grid), targets, "contributions", signed=True)
