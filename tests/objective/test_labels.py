"""The predictor's losses, of whole images and of masked copies."""

from __future__ import annotations

from dataclasses import replace

import torch

from iavit.config import RECIPES
from iavit.objective.inputs import Inputs, MaskedCopies
from iavit.objective.step import weighted_sum
from tests.objective.outputs import BATCH, CLASSES, PATCHES, outputs, reached

LABELS = torch.tensor([0, 2, 1, 4, 0, 3, 2])


FAITHFUL, PAPER, PLAIN = RECIPES["faithful"], RECIPES["paper"], RECIPES["plain"]


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
