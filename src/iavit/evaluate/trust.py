"""How far an image's own explanation can be trusted: does it hold on this image?

The interpreter must speak for the predictor, and what the contributions rank first must be what
the predictor decides by. The second is tried out on the image itself, at a few points of the
insertion and deletion curves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iavit.masking.engine import Perturbation, patch_ranks, ranked_answers
from iavit.model.explainable import evaluating
from iavit.model.iavit import IAViT
from iavit.types import Explanation

FRACTIONS = (0.1, 0.2, 0.3, 0.5)  # of the patches, shown alone and hidden: eight copies


@dataclass(frozen=True)
class Trust:
    """Of B images.

    agreement: (B,) bool, whether both branches choose the same class.
    answer: (B,), from 0 to 1, how much of the predictor's answer the interpreter's shares.
    faithfulness: (B,), from 0 to 1, how far the predictor's answer stays with the patches that
        the contributions rank first, and goes without them.
    """

    agreement: Tensor
    answer: Tensor
    faithfulness: Tensor

    @property
    def trust(self) -> Tensor:
        """`answer * faithfulness`, (B,); 0 where the branches name different classes."""
        return self.answer * self.faithfulness * self.agreement

    def of_image(self, row: int) -> dict[str, float | None]:
        """One image's figures, rounded for JSON; where the branches disagree there is no trust."""
        agrees = bool(self.agreement[row])
        return {
            "trust": round(float(self.trust[row]), 6) if agrees else None,
            "answer": round(float(self.answer[row]), 6),
            "faithfulness": round(float(self.faithfulness[row]), 6),
        }


@torch.no_grad()
def trust(model: IAViT, images: Tensor, *, perturbation: Perturbation | None = None) -> Trust:
    """How far the explanations that the model gives of its own answers can be trusted.

    With the probabilities f of the predictor and g of the interpreter, and the class c that the
    predictor chooses, whose contributions rank the patches:

    - `answer = 1 - 1/2 sum_c |f_c - g_c|`;
    - `faithfulness = max(0, mean_q f_c(the first q shown) - f_c(the first q hidden))`, over q of
      10, 20, 30 and 50 % of the patches: a rough insertion minus deletion.

    images: (B, 3, H, W).
    perturbation: what stands in place of hidden patches, and how many copies are held; its score
        is replaced by the probability.
    """
    with evaluating(model):
        output = model(images, attention="none")
        classes = output.logits.argmax(dim=1)
        maps = model.interpreter.contributions_to(output.interpreter_tokens, classes)
    units = model.grid[0] * model.grid[1]
    counts = [max(1, round(fraction * units)) for fraction in FRACTIONS]
    ranges = [(0, count) for count in counts] + [(count, units) for count in counts]
    ranks = patch_ranks(Explanation(maps.unflatten(1, model.grid), classes, "trust"), model.grid)
    perturbation = replace(perturbation or Perturbation(), score="probability")
    scores = ranked_answers(model, images, classes, ranks, ranges, perturbation).scores
    return Trust(
        output.interpreter_logits.argmax(dim=1) == classes,
        shared(output.logits, output.interpreter_logits),
        faithfulness(*scores.chunk(2, dim=1)),
    )


def shared(logits: Tensor, interpreter_logits: Tensor) -> Tensor:
    """One minus the total variation distance of the two answers, (B, C) each to (B,)."""
    gap = logits.softmax(dim=1) - interpreter_logits.softmax(dim=1)
    return 1 - gap.abs().sum(dim=1) / 2


def faithfulness(shown: Tensor, hidden: Tensor) -> Tensor:
    """The mean of `shown - hidden`, (B, Q) each to (B,), and 0 where that is negative."""
    return (shown - hidden).mean(dim=1).clamp(min=0).float()
