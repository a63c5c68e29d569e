"""Does the map foretell what removing patches does, and does it hold still under small noise?

Both as captum computes them, on what this package explains: patches of a batch of images.
"""

from __future__ import annotations

from typing import Literal

import torch
from captum import metrics as captum
from torch import Tensor, nn

from iavit.explain import Explainer
from iavit.model.explainable import extractor_of
from iavit.types import Batch, Explanation, Score

SUBSETS = 50  # random sets of patches for the infidelity
NOISES = 10  # noisy copies for the sensitivity, captum's default
RADIUS = 0.02  # largest noise in normalised units, captum's default
COPIES = 256  # masked copies a forward pass


def infidelity(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    *,
    score: Literal["probability", "logit"] = "probability",
    copies: int = COPIES,
    seed: int = 0,
) -> Score:
    """Mean squared gap between a removed set's summed map and the drop that removing it causes.

    `mean_I (beta I . map - (f(x) - f(x without I)))^2` over random sets I of patches, which are
    replaced by the mean colour; beta, the best factor for each image, makes maps of any scale
    comparable. Each patch is in I with the same chance, which is drawn anew for each I; the sets
    are the same for every image. A map in pixels is averaged over each patch first.

    score: the target's, whose drop is to be foretold.
    copies: masked images in one forward pass.

    Source: Yeh et al., NeurIPS 2019, definition 2.1 with the normalisation of its code.
    """
    extractor = extractor_of(model)
    count, (height, width) = len(batch), extractor.grid
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(SUBSETS, 1, generator=generator)
    removed = torch.rand(SUBSETS, height * width, generator=generator) < chance
    # Sums of squares that nearly cancel: float64 throughout, but for the model.
    removed = removed.to(batch.images.device).double().repeat(count, 1)  # (B * SUBSETS, N)
    maps = nn.functional.adaptive_avg_pool2d(explanation.maps[:, None].double(), extractor.grid)

    def answers(visible: Tensor, image: Tensor) -> Tensor:
        """(n, N) of 0 and 1, for each the number of its image, to the targets' scores (n,)."""
        found = []
        for kept, of in zip(visible.split(copies), image.split(copies), strict=True):
            cells = kept.to(batch.images.dtype).unflatten(1, (1, height, width))
            mask = nn.functional.interpolate(cells, batch.images.shape[-2:], mode="nearest")
            logits = extractor.logits(batch.images[of] * mask).float()
            chosen = logits if score == "logit" else logits.softmax(dim=-1)
            found.append(chosen.gather(1, explanation.targets[of, None])[:, 0].double())
        return torch.cat(found)

    values = captum.infidelity(
        answers,
        lambda visible: (removed, visible - removed),
        torch.ones_like(removed[:count]),
        maps.flatten(1),
        additional_forward_args=torch.arange(count, device=batch.images.device),
        n_perturb_samples=SUBSETS,
        normalize=True,
    )
    return Score(values.float(), "infidelity", "lower")


def max_sensitivity(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    *,
    explain: Explainer,
    seed: int = 0,
) -> Score:
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
    return Score(values.float(), "max_sensitivity", "lower")
