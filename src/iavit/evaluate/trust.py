"""How far an image's explanation can be trusted: does the interpreter speak for the predictor?

Asked of the whole image and of a few of its parts, which the interpreter answers for without
seeing them: its contributions say what it makes of every part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iavit.masking.engine import Perturbation, masked_answers
from iavit.masking.sampling import draw_visible
from iavit.model.explainable import evaluating
from iavit.model.iavit import IAViT
from iavit.objective.subsets import partial_logits

SUBSETS = 8  # in complementary pairs
FLAT = 1e-5  # logits that differ by less are the same but for rounding


@dataclass(frozen=True)
class Trust:
    """Each from 0 to 1, (B,).

    answer: how much of the predictor's answer the interpreter's shares.
    parts: how well partial sums of the contributions follow the predictor's masked answers.
    """

    answer: Tensor
    parts: Tensor

    @property
    def trust(self) -> Tensor:
        """`answer * parts`, (B,): low where either is."""
        return self.answer * self.parts

    def of_image(self, row: int) -> dict[str, float]:
        """One image's figures, rounded for JSON."""
        named = {"trust": self.trust, "answer": self.answer, "parts": self.parts}
        return {name: round(float(values[row]), 6) for name, values in named.items()}


@torch.no_grad()
def trust(
    model: IAViT, images: Tensor, *, seed: int = 0, perturbation: Perturbation | None = None
) -> Trust:
    """How far the explanations that the model gives of its own answers can be trusted.

    With the predictor's logits f, the interpreter's g = b + sum of the contributions, the class c
    that the predictor chooses, and random parts S, the same for all images:

    - `answer = 1 - 1/2 sum_c |softmax(f)_c - softmax(g)_c|`;
    - `parts = max(0, r)`, where r is the correlation over the parts of the predictor's logit
      `f(x_S)_c` with the partial sum `b_c + sum of the contributions in S to c`; 0 where either
      is the same for all parts.

    images: (B, 3, H, W). seed: of the parts.
    perturbation: what stands in place of hidden patches, and how many copies are held; its score
        is replaced by the logit.
    """
    bias = model.interpreter.bias
    with evaluating(model):
        output = model(images, attention="none")
        logits = output.logits
        every = model.interpreter.contributions(output.interpreter_tokens)  # (B, N, C)
    classes = logits.argmax(dim=-1)
    visible = draw_parts(model, seed).to(images.device).expand(len(images), -1, -1)  # (B, S, N)
    partial = partial_logits(every, bias, visible)
    foretold = partial.gather(2, classes[:, None, None].expand(-1, SUBSETS, 1))[..., 0]
    perturbation = replace(perturbation or Perturbation(), score="logit")
    visible = visible.unflatten(2, model.grid)
    answered = masked_answers(model, images, classes, visible, perturbation).scores
    return Trust(shared(logits, every.sum(dim=1) + bias), follows(foretold, answered))


def shared(logits: Tensor, interpreter_logits: Tensor) -> Tensor:
    """One minus the total variation distance of the two answers, (B, C) each to (B,)."""
    gap = logits.softmax(dim=-1) - interpreter_logits.softmax(dim=-1)
    return 1 - gap.abs().sum(dim=-1) / 2


def follows(foretold: Tensor, answered: Tensor) -> Tensor:
    """The correlation of the columns of each row, (B, S) each to (B,), and 0 where below."""
    a, b = (
        values.double() - values.double().mean(dim=1, keepdim=True)
        for values in (foretold, answered)
    )
    lengths = a.norm(dim=1) * b.norm(dim=1)
    flat = (a.abs().amax(dim=1) < FLAT) | (b.abs().amax(dim=1) < FLAT)
    correlation = (a * b).sum(dim=1) / lengths.where(~flat, 1.0)
    return correlation.clamp(0, 1).where(~flat, 0.0).float()


def draw_parts(model: IAViT, seed: int = 0) -> Tensor:
    """The parts that trust asks about, (S, N) bool; the caller's generator is left as it was."""
    height, width = model.grid
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return draw_visible(SUBSETS, height * width, torch.device("cpu"))
