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

import hashlib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iavit.data.images import Images
from iavit.data.sampling import sample
from iavit.errors import UserError
from iavit.evaluate.evaluation import Figure, Sufficient, SufficientPatches
from iavit.evaluate.faithfulness import schedule
from iavit.evaluate.measurement import Part, seed_of
from iavit.evaluate.pieces import CarryOut, Work
from iavit.evaluate.statistics import interval
from iavit.explain import Explainer
from iavit.masking.engine import Perturbation, patch_ranks, ranked_answers
from iavit.model.explainable import predictor_of
from iavit.types import Batch, Explanation

# Images that calibrate, and that are tested: the coverage that a calibration on 250 images reaches
# varies by 1.9 points (standard deviation) around what it is on average. 500 vary by 1.3 and take
# twice the time, a third of that of an evaluation's curves.
IMAGES = 250
POINTS = 33  # numbers of patches that are tried, denser where they are few
CALIBRATION, COVERAGE = "calibration", "coverage"  # the stages of the work


@dataclass(frozen=True)
class Promise:
    """A coverage that is asked for, from 0 to 1, of images; and images to calibrate it on.

    Raises `UserError` for a coverage that is none.
    """

    coverage: float
    calibration: Images

    def __post_init__(self) -> None:
        check_coverage(self.coverage)

    def images(self, test: Images) -> tuple[Images, Images]:
        """Those that calibrate and those that are tested, `IMAGES` of each.

        No more calibrate than are tested, unless the coverage needs them.
        """
        tested = sample(test, IMAGES)
        wanted = max(len(tested), images_needed(self.coverage))
        return sample(self.calibration, wanted), tested

    def described(self, test: Images) -> str:
        """A text that differs where what is measured for it could."""
        calibration, _ = self.images(test)
        first = calibration[range(min(4, len(calibration)))]
        pixels = hashlib.sha256(first.images.contiguous().numpy().data).hexdigest()
        return f"{self.coverage} on {len(calibration)} images, {pixels}"


def audit_sufficient(
    model: nn.Module,
    promise: Promise,
    test: Images,
    explainers: Mapping[str, Explainer],
    carry_out: CarryOut,
    *,
    seed: int = 0,
    perturbation: Perturbation | None = None,
) -> Sufficient:
    """Calibrate on some images, and measure on others what coverage is reached.

    seed: of whatever an explainer draws.
    perturbation: the substrate for patches that are not shown.

    Raises `UserError` for a coverage that so few images cannot promise.
    """
    calibration, tested = promise.images(test)
    height, width = predictor_of(model).grid
    counts = patch_counts(model)

    def work(name: str, images: Images, shown: list[int]) -> Work:
        def measure(batch: Batch, start: int) -> Part:
            torch.manual_seed(seed_of(seed, start))
            with torch.no_grad():
                targets = predictor_of(model).logits(batch.images).argmax(dim=1)
                explanation = explainers[name](model, batch.images, targets)
                return {"kept": kept_answers(model, batch, explanation, shown, perturbation)}

        return Work(f"{name}: patches that suffice", images, measure)

    calibrated = carry_out(
        CALIBRATION, {name: work(name, calibration, counts) for name in explainers}
    )
    scores = {
        name: smallest_kept(part["kept"], torch.tensor(counts)) for name, part in calibrated.items()
    }
    patches = {name: int(conformal_quantile(of, promise.coverage)) for name, of in scores.items()}
    reached = carry_out(
        COVERAGE, {name: work(name, tested, [patches[name]]) for name in explainers}
    )
    found = {}
    for name in explainers:
        share = patches[name] / (height * width)
        found[name] = SufficientPatches(
            patches[name],
            interval(reached[name]["kept"][:, 0].float()),
            Figure(share, share, share),
        )
    return Sufficient(promise.coverage, len(calibration), len(tested), found)


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


def patch_counts(model: nn.Module) -> list[int]:
    """The numbers of patches that are tried on a model's images."""
    height, width = predictor_of(model).grid
    return schedule(height * width, POINTS)


def kept_answers(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    counts: list[int],
    perturbation: Perturbation | None,
) -> Tensor:
    """Whether the first so many patches alone keep each image's answer: (B, P) bool."""
    ranks = patch_ranks(explanation, predictor_of(model).grid)
    ranges = [(0, count) for count in counts]
    targets = explanation.targets
    answers = ranked_answers(model, batch.images, targets, ranks, ranges, perturbation)
    return answers.chosen.cpu()
