"""Do the units that an explanation ranks first really carry the prediction?

Every measure reads the same two curves, so that they cost no more together than one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from iavit.masking.engine import Perturbation, patch_ranks, ranked_answers
from iavit.masking.substrates import SUBSTRATES
from iavit.model.explainable import predictor_of
from iavit.types import Batch, Explanation

# Points of a curve, and how they are spread, `(i / (POINTS - 1)) ** DENSER`: more where the most
# important units go or come, as the curves bend there. The fewest whose areas are on average
# less than 0.005 from those with every number of patches (0.0048: `benchmarks/points.py`, demo
# run of seed 0, 64 patches, 100 images, four explainers; 30 points when evenly spaced).
POINTS = 23
DENSER = 1.5
FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)  # of sufficiency and comprehensiveness
REMOVED = (0.1, 0.9)  # between which positive and negative perturbation are averaged
PERCENTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of ROAD


@dataclass(frozen=True)
class Curves:
    """What the predictor says of the class explained while units go or come, the first first.

    fractions: (P,), from 0 to 1, the part of the units that is gone (deletion) or there
        (insertion).
    deletion, insertion: (B, P), the class's score.
    deletion_chosen, insertion_chosen: (B, P) bool, whether the class is the one predicted.
    """

    fractions: Tensor
    deletion: Tensor
    insertion: Tensor
    deletion_chosen: Tensor
    insertion_chosen: Tensor


def curves(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    *,
    points: int = POINTS,
    fractions: tuple[float, ...] | None = None,
    grid: tuple[int, int] | None = None,
    perturbation: Perturbation | None = None,
) -> Curves:
    """Deletion and insertion curves of the class explained.

    points: of each curve, both ends included, denser at the start: see `POINTS`. Those that are
        the same number of units are one.
    fractions: the very fractions instead, ascending, each rounded to whole units.
    grid: the units: by default the model's patches; (H, W) for pixels.
    perturbation: substrate, score, bound on memory and precision; the same for both curves.

    Source: Petsiuk et al., BMVC 2018 (RISE), by patches instead of pixels.
    """
    grid = grid or predictor_of(model).grid
    units = grid[0] * grid[1]
    if fractions is None:
        counts = schedule(units, points)
    else:
        counts = [round(units * fraction) for fraction in fractions]
    ranges = [(count, units) for count in counts] + [(0, count) for count in counts]
    ranks = patch_ranks(explanation, grid)
    answers = ranked_answers(model, batch.images, explanation.targets, ranks, ranges, perturbation)
    deletion, insertion = answers.scores.chunk(2, dim=1)
    deletion_chosen, insertion_chosen = answers.chosen.chunk(2, dim=1)
    at = deletion.new_tensor(counts) / units
    return Curves(at, deletion, insertion, deletion_chosen, insertion_chosen)


def schedule(units: int, points: int) -> list[int]:
    """How many units are gone or there at each point of a curve, ascending."""
    last = points - 1
    return sorted({round(units * (at / last) ** DENSER) for at in range(points)})


def area(fractions: Tensor, curve: Tensor) -> Tensor:
    """The area under each curve by the trapezoid rule: (P,), (B, P) to (B,), from 0 to 1."""
    return torch.trapezoid(curve, fractions)


def deletion(curves: Curves) -> Tensor:
    """The area under the class's score while units go, the most important first.

    Source: Petsiuk et al., BMVC 2018.
    """
    return area(curves.fractions, curves.deletion).float()


def insertion(curves: Curves) -> Tensor:
    """The area under the class's score while units come, the most important first.

    Source: Petsiuk et al., BMVC 2018.
    """
    return area(curves.fractions, curves.insertion).float()


def difference(curves: Curves) -> Tensor:
    """Insertion minus deletion: what a random order gets is 0 on average, whatever the model."""
    gap = area(curves.fractions, curves.insertion) - area(curves.fractions, curves.deletion)
    return gap.float()


def symmetric_relevance_gain(curves: Curves) -> Tensor:
    """The area between removing the least important first and the most important first.

    On one substrate the first of these curves is insertion, seen backwards, so that this is the
    same number as `difference`; the two differ only where insertion has a substrate of its own,
    as in RISE.

    Source: Blücher et al., TMLR 2024 (arXiv 2401.06654).
    """
    least_first = area(1 - curves.fractions.flip(0), curves.insertion.flip(1))
    gain = least_first - area(curves.fractions, curves.deletion)
    return gain.float()


def positive_perturbation(curves: Curves) -> Tensor:
    """How often the class explained stays the one predicted while the most important units go.

    1 where it has the largest logit, else 0, averaged over the fraction removed from 10 to 90 %:
    `(1 / 0.8) * integral of it`, by trapezoids on the curve's points. The source removes pixels
    and takes nine steps.

    Source: Chefer et al., CVPR 2021, section 4.
    """
    kept = curves.deletion_chosen.to(curves.deletion.dtype)
    average = _average_between(curves.fractions, kept, *REMOVED)
    return average.float()


def negative_perturbation(curves: Curves) -> Tensor:
    """The same while the least important units go first: here higher is better."""
    # Removing the least important first is inserting the most important first, seen backwards.
    kept = curves.insertion_chosen.to(curves.insertion.dtype)
    average = _average_between(curves.fractions, kept, *REMOVED)
    return average.float()


def sufficiency(curves: Curves) -> Tensor:
    """How much of the class's score is lost when only the most important units are shown.

    The mean of `score(all) - score(the first f)` over f of 1, 5, 10, 20 and 50 % of the units;
    between the curve's points it is taken as linear.

    Source: DeYoung et al., ACL 2020 (ERASER), section 4.2; the mean over f as in their code.
    """
    at = curves.fractions.new_tensor(FRACTIONS)
    alone = _read(curves.fractions, curves.insertion, at).mean(dim=1)
    return (curves.insertion[:, -1] - alone).float()


def comprehensiveness(curves: Curves) -> Tensor:
    """How much of the class's score is lost when the most important units are not shown.

    The mean of `score(all) - score(all but the first f)` over the same f as in `sufficiency`.
    """
    at = curves.fractions.new_tensor(FRACTIONS)
    without = _read(curves.fractions, curves.deletion, at).mean(dim=1)
    return (curves.insertion[:, -1] - without).float()


def road(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    *,
    percentiles: tuple[float, ...] = PERCENTILES,
    perturbation: Perturbation | None = None,
) -> Tensor:
    """Least minus most important removed first, on noisy linear imputation.

    The mean over the fractions removed of `score(without the last) - score(without the first)`.

    percentiles: fractions of the units that are removed.
    perturbation: its substrate is replaced by `linear`.

    Source: Rong et al., ICML 2022.
    """
    perturbation = replace(perturbation or Perturbation(), substrate=SUBSTRATES["linear"])
    grid = predictor_of(model).grid
    units = grid[0] * grid[1]
    counts = [round(units * fraction) for fraction in percentiles]
    ranges = [(0, units - count) for count in counts] + [(count, units) for count in counts]
    ranks = patch_ranks(explanation, grid)
    found = ranked_answers(
        model, batch.images, explanation.targets, ranks, ranges, perturbation
    ).scores
    least, most = found.chunk(2, dim=1)
    return (least - most).mean(dim=1).float()


def _read(fractions: Tensor, curve: Tensor, at: Tensor) -> Tensor:
    """Curves (B, P) at other fractions (Q,), linear between the points: (B, Q)."""
    right = torch.searchsorted(fractions, at).clamp(1, len(fractions) - 1)
    left = right - 1
    share = (at - fractions[left]) / (fractions[right] - fractions[left])
    return curve[:, left] * (1 - share) + curve[:, right] * share


def _average_between(fractions: Tensor, curve: Tensor, low: float, high: float) -> Tensor:
    """The mean of each curve from one fraction to another, by trapezoids: (B,)."""
    inside = fractions[(fractions > low) & (fractions < high)]
    ends = fractions.new_tensor([low, high])
    at = torch.cat((ends[:1], inside, ends[1:]))
    return area(at, _read(fractions, curve, at)) / (high - low)
