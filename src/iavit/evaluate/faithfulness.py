"""Do the patches that an explanation ranks first really carry the prediction?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from iavit.evaluate.perturbation import masked_probabilities, patch_order
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation, Score

POINTS = 26  # of a curve: 0, 4, 8, ..., 100 % of the patches
SUBSTRATE = 0.0  # in normalised units: the mean colour, as in the paper


@dataclass(frozen=True)
class Curves:
    """The target's probability while patches go or come, most important first.

    fractions: (P,), the part of the patches that is gone (deletion) or there (insertion).
    deletion, insertion: (B, P).
    """

    fractions: Tensor
    deletion: Tensor
    insertion: Tensor


def curves(
    model: IAViT,
    batch: Batch,
    explanation: Explanation,
    *,
    points: int = POINTS,
    substrate: Tensor | float = SUBSTRATE,
) -> Curves:
    """Deletion and insertion curves of the explained class.

    points: of each curve, evenly spaced, both ends included.
    substrate: what stands where a patch is not; the same for both curves.

    Source: Petsiuk et al., BMVC 2018 (RISE), by patches instead of pixels.
    """
    patches = model.grid[0] * model.grid[1]
    counts = torch.linspace(0, patches, points, device=batch.images.device).round()
    first = patch_order(explanation.maps, model.grid)[:, None] < counts[:, None]  # (B, P, N)
    first = first.unflatten(2, model.grid)
    deletion, insertion = (
        masked_probabilities(model.predict, batch.images, explanation.targets, visible, substrate)
        for visible in (~first, first)
    )
    return Curves(counts / patches, deletion, insertion)


def area(fractions: Tensor, curve: Tensor) -> Tensor:
    """The area under each curve by the trapezoid rule: (P,), (B, P) to (B,), from 0 to 1."""
    return torch.trapezoid(curve, fractions, dim=-1)


def scores(of: Curves) -> dict[Literal["deletion", "insertion", "difference"], Score]:
    """Areas under both curves, and insertion minus deletion."""
    deletion, insertion = area(of.fractions, of.deletion), area(of.fractions, of.insertion)
    return {
        "deletion": Score(deletion, "deletion", "lower"),
        "insertion": Score(insertion, "insertion", "higher"),
        "difference": Score(insertion - deletion, "difference", "higher"),
    }
