"""A model's output whose parts gather gradient, for tests of which parts a term reaches."""

from __future__ import annotations

import torch
from torch import Tensor

from iavit.types import Output

BATCH, CLASSES, PATCHES = 7, 5, 9


def outputs() -> Output:
    """Every part a leaf that gathers gradient; the tokens take no part."""
    generator = torch.Generator().manual_seed(2)
    logits = 4 * torch.randn(2, BATCH, CLASSES, generator=generator, dtype=torch.float64)
    attentions = torch.randn(2, BATCH, PATCHES, generator=generator, dtype=torch.float64)
    parts = [*logits, *attentions.softmax(dim=-1)]
    first, second, third, fourth = (part.clone().requires_grad_() for part in parts)
    tokens = torch.zeros(BATCH, 1 + PATCHES, 2)
    return Output(first, second, third, fourth, tokens, tokens[:, 1:])


def reached(term: Tensor, output: Output) -> set[str]:
    """The parts of the output that a term's gradient reaches."""
    parts = {name: part for name, part in vars(output).items() if part.requires_grad}
    gradients = torch.autograd.grad(term, list(parts.values()), allow_unused=True)
    pairs = zip(parts, gradients, strict=True)
    return {name for name, gradient in pairs if gradient is not None and gradient.any()}
