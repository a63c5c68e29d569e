"""The perturbation engine: many masked copies of each image, one class probability each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

BATCH = 256  # masked copies a forward pass


def patch_order(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Each patch's place, 0 for the most important: maps (B, h, w) or (B, H, W) to (B, N).

    A map in pixels is averaged over each patch. Equal patches are ordered at random, from a
    fixed seed, so that no explainer gains from the order in which patches are numbered.
    """
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps[:, None].double(), grid).flatten(1)
    generator = torch.Generator().manual_seed(0)
    shuffle = torch.rand(pooled.shape, generator=generator).argsort(dim=1).to(maps.device)
    by_value = pooled.gather(1, shuffle).argsort(dim=1, descending=True, stable=True)
    return shuffle.gather(1, by_value).argsort(dim=1)


@torch.inference_mode()
def masked_probabilities(
    predict: Callable[[Tensor], Tensor],
    images: Tensor,
    targets: Tensor,
    visible: Tensor,
    substrate: Tensor | float,
    batch_size: int = BATCH,
) -> Tensor:
    """The probability of each image's target with only some patches visible, (B, P).

    predict: (n, 3, H, W) images to (n, C) logits.
    images: (B, 3, H, W). targets: (B,).
    visible: (B, P, h, w) bool, for each image the patches that P copies of it keep.
    substrate: what stands in the other places, a number or a picture that broadcasts to images.
    batch_size: copies a forward pass; copies of several images share one, and only they are
        held in memory.
    """
    count, copies = visible.shape[:2]
    pixels = (images.shape[-2] // visible.shape[-2], images.shape[-1] // visible.shape[-1])
    filler = torch.as_tensor(substrate, device=images.device).expand_as(images)
    answers = torch.empty(count * copies, device=images.device)
    for rows in _runs(count * copies, batch_size, images.device):
        image, copy = rows // copies, rows % copies
        kept = visible[image, copy][:, None]  # (n, 1, h, w)
        kept = kept.repeat_interleave(pixels[0], dim=2).repeat_interleave(pixels[1], dim=3)
        masked = torch.where(kept, images[image], filler[image])
        probabilities = predict(masked).float().softmax(dim=-1)
        answers[rows] = probabilities.gather(1, targets[image][:, None])[:, 0]
    return answers.view(count, copies)


def _runs(total: int, size: int, device: torch.device) -> Iterator[Tensor]:
    yield from torch.arange(total, device=device).split(size)
