"""The predictor's losses, of whole images and of masked copies."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from iavit.config import RECIPES
from iavit.objective.inputs import Inputs, MaskedCopies
from iavit.objective.step import weighted_sum
from iavit.types import Output

BATCH, CLASSES, SIZE, PATCHES = 7, 5, 12, 9


LABELS = torch.tensor([0, 2, 1, 4, 0, 3, 2])


FAITHFUL, PAPER, PLAIN = RECIPES["faithful"], RECIPES["paper"], RECIPES["plain"]


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


def test_cross_entropy_reaches_the_predictor_alone() -> None:
    output = outputs()
    term = weighted_sum(Inputs(output, LABELS), PAPER)["cross_entropy"]
    assert reached(term, output) == {"logits"}


def test_mixed_images_have_soft_and_smoothed_labels_and_so_have_their_copies() -> None:
    output = outputs()
    labels = torch.rand(BATCH, CLASSES, dtype=torch.float64)
    labels /= labels.sum(dim=1, keepdim=True)
    copies = MaskedCopies(torch.ones(2, PATCHES, dtype=torch.bool), output.logits[2:4])
    config = replace(FAITHFUL, label_smoothing=0.2, masked_share=0.5)
    terms = weighted_sum(Inputs(output, labels, copies), config)
    smoothed = 0.8 * labels + 0.2 / CLASSES
    expected = -(smoothed * output.logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(terms["cross_entropy"], expected)
    expected = -(smoothed[:2] * output.logits[2:4].log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(terms["masked_cross_entropy"], expected)
