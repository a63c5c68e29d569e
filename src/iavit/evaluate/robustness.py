"""Does the map foretell what removing patches does, and does it hold still under small noise?

Both as captum computes them, on what this package explains: patches of a batch of images.
"""

from __future__ import annotations

import torch
from captum import metrics as captum
from torch import Tensor, nn

from iavit.explain import Explainer
from iavit.masking.engine import Perturbation, masked_answers, on_units
from iavit.model.explainable import predictor_of
from iavit.types import Batch, Explanation

SUBSETS = 50  # random sets of patches for the infidelity
NOISES = 10  # noisy copies for the sensitivity, captum's default
RADIUS = 0.02  # largest noise in normalised units, captum's default


def infidelity(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    *,
    perturbation: Perturbation | None = None,
    seed: int = 0,
) -> Tensor:
    """Mean squared gap between a removed set's summed map and the drop that removing it causes.

    `mean_I (beta I . map - (f(x) - f(x without I)))^2` over random sets I of patches; beta, the
    best factor for each image, makes maps of any scale comparable. Each patch is in I with the
    same chance, which is drawn anew for each I; the sets are the same for every image. A map in
    pixels is averaged over each patch first.

    perturbation: substrate, score, bound on memory and precision.

    Source: Yeh et al., NeurIPS 2019, definition 2.1 with the normalisation of its code.
    """
    grid = predictor_of(model).grid
    count, patches = len(batch), grid[0] * grid[1]
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(SUBSETS, 1, generator=generator)
    removed = torch.rand(SUBSETS, patches, generator=generator) < chance
    # Sums of squares that nearly cancel: float64.
    removed = removed.to(batch.images.device).double().repeat(count, 1)  # (B * SUBSETS, N)

    def answers(visible: Tensor) -> Tensor:
        """(B * P, N) of 0 and 1, image after image, to the targets' scores, (B * P,)."""
        shown = (visible > 0).view(count, -1, *grid)
        found = masked_answers(model, batch.images, explanation.targets, shown, perturbation)
        return found.scores.flatten().double()

    values = captum.infidelity(
        answers,
        lambda visible: (removed, visible - removed),
        removed.new_ones(count, patches),
        on_units(explanation.maps, grid).flatten(1),
        n_perturb_samples=SUBSETS,
        normalize=True,
    )
    return values.float()


def max_sensitivity(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    *,
    explain: Explainer,
    seed: int = 0,
) -> Tensor:
    """The largest change of the map under small noise on the image, over the map's own norm.

    `max_e |map(x + e) - map(x)| / |map(x)|` over e drawn uniformly from `[-RADIUS, RADIUS]` for
    each number of the image; the draws are the same for every image.

    explain: the explainer that made the explanation, which is asked again for each draw.

    Source: Yeh et al., NeurIPS 2019, definition 2.2, estimated from `NOISES` draws.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(NOISES, *batch.images.shape[1:], generator=generator)
    draws = iter(((2 * noise - 1) * RADIUS).to(batch.images))

    def maps(images: Tensor | tuple[Tensor]) -> tuple[Tensor]:
        plain = images if isinstance(images, Tensor) else images[0]  # captum asks both ways
        return (explain(model, plain, explanation.targets).maps.flatten(1),)

    values = captum.sensitivity_max(
        maps,
        batch.images,
        lambda images: images + next(draws),
        n_perturb_samples=NOISES,
        max_examples_per_batch=len(batch),  # one draw at a time: no more images than were given
    )
    return values.float()
