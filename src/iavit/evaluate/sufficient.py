"""How few patches keep the answer, with a guarantee for new images of the same kind.

For an image, let s be the smallest number such that the first s patches of an explanation's
ranking keep the predictor's answer, and so does every larger number of them. On n images that
were not trained on, take the k-th smallest s, `k = ceil((n + 1) coverage)`. If a new image is
exchangeable with those, showing it with that many patches keeps its answer with probability at
least `coverage`, whatever model and explainer: its own s is among the k smallest of n + 1 with
that probability.

Source: split conformal prediction, Papadopoulos et al., ECML 2002; nested sets and a loss made
monotone, Angelopoulos, Bates et al., ICLR 2024 (arXiv 2208.02814), of which this is the loss
"the answer changed". The validation images also chose the checkpoint, which is one of a few
dozen: that they are exchangeable with new ones is true but for this.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from iavit.data.images import Images
from iavit.data.sampling import sample
from iavit.errors import UserError
from iavit.evaluate.evaluation import Figure, Sufficient, SufficientPatches
from iavit.evaluate.faithfulness import schedule
from iavit.evaluate.pieces import batches
from iavit.evaluate.statistics import interval
from iavit.explain import Explainer
from iavit.masking.engine import Perturbation, patch_ranks, ranked_answers
from iavit.model.explainable import extractor_of

# Images that calibrate, and that are tested: the coverage that a calibration on 250 images reaches
# varies by 1.9 points (standard deviation) around what it is on average. 500 vary by 1.3 and take
# twice the time, a third of that of an evaluation's curves.
IMAGES = 250
POINTS = 33  # numbers of patches that are tried, denser where they are few


def audit_sufficient(
    model: nn.Module,
    calibration: Images,
    test: Images,
    explainers: Mapping[str, Explainer],
    coverage: float,
    *,
    seed: int = 0,
    perturbation: Perturbation | None = None,
    progress: Callable[[str], None] = lambda explainer: None,
) -> Sufficient:
    """Calibrate on some images, and measure on others what coverage is reached.

    calibration, test: of each `IMAGES` are drawn, and no more to calibrate than are
        tested, unless the coverage needs them. coverage: from 0 to 1, of images.
    perturbation: the substrate for patches that are not shown.
    progress: called with an explainer's name before its turn.

    Raises `UserError` for a coverage that is none, or that so few images cannot promise.
    """
    check_coverage(coverage)
    test = sample(test, IMAGES)
    wanted = max(len(test), images_needed(coverage))
    calibration = sample(calibration, wanted)
    height, width = extractor_of(model).grid
    found = {}
    for name, explain in explainers.items():
        progress(name)
        torch.manual_seed(seed)
        counts = torch.tensor(schedule(height * width, POINTS))
        kept = _kept(model, calibration, explain, counts.tolist(), perturbation)
        patches = int(conformal_quantile(smallest_kept(kept, counts), coverage))
        reached = _kept(model, test, explain, [patches], perturbation)[:, 0].float()
        share = patches / (height * width)
        found[name] = SufficientPatches(patches, interval(reached), Figure(share, share, share))
    return Sufficient(coverage, len(calibration), len(test), found)


def check_coverage(coverage: float) -> None:
    """Refuse what is no coverage."""
    if not 0 < coverage < 1:
        raise UserError(f"`coverage` is {coverage}; give a share of the images, such as 0.9")


def images_needed(coverage: float) -> int:
    """The fewest images that can promise a coverage: `ceil((n + 1) coverage) <= n`."""
    return next(n for n in itertools.count(1) if math.ceil((n + 1) * coverage) <= n)


def smallest_kept(kept: Tensor, counts: Tensor) -> Tensor:
    """The smallest count from which on the answer is kept, (B,).

    kept: (B, P) bool, whether it is with `counts` patches, (P,) ascending; with all, it is.
    """
    from_here = kept.flip(1).cummin(dim=1).values.flip(1)  # kept at this and at all larger counts
    return counts[from_here.int().argmax(dim=1)]


def conformal_quantile(scores: Tensor, coverage: float) -> Tensor:
    """The `ceil((n + 1) coverage)`-th smallest of (n,) scores.

    Raises `UserError` where that is more than n: so few cannot promise as much.
    """
    rank = math.ceil((len(scores) + 1) * coverage)
    if rank > len(scores):
        raise UserError(
            f"`coverage` {coverage} needs at least {images_needed(coverage)} validation images, "
            f"and there are {len(scores)}; ask for less"
        )
    return scores.sort().values[rank - 1]


def _kept(
    model: nn.Module,
    images: Images,
    explain: Explainer,
    counts: list[int],
    perturbation: Perturbation | None,
) -> Tensor:
    """Whether the first so many patches alone keep each image's answer: (n, P) bool."""
    extractor = extractor_of(model)
    ranges = [(0, count) for count in counts]
    kept = []
    for batch in batches(model, images):
        with torch.no_grad():
            targets = extractor.logits(batch.images).argmax(dim=-1)
            explanation = explain(model, batch.images, targets)
            ranks = patch_ranks(explanation, extractor.grid)
            answers = ranked_answers(model, batch.images, targets, ranks, ranges, perturbation)
        kept.append(answers.chosen.cpu())
    return torch.cat(kept)
