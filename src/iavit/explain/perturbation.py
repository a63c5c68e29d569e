"""Explanations by asking the predictor about images of which only a part is left.

What is taken away becomes 0, the mean colour of normalised pixels. Which parts are left is drawn
once from a seed and is the same for every image, so that a map depends on its image alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iavit.explain.parts import of_targets
from iavit.model.explainable import explaining
from iavit.model.extractor import Extractor
from iavit.types import Explanation

COPIES = 256  # masked images a forward pass

# Rows of a range of masks, (n, H, W) shares of each pixel that are left.
Masks = Callable[[slice], Tensor]


def rise(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    masks: int = 1000,
    cells: int = 7,
    kept: float = 0.5,
    seed: int = 0,
) -> Explanation:
    """The mean mask, each weighted by the target's probability under it, (B, H, W).

    masks: how many. cells: of the coarse grid, each way. kept: the chance of a cell to be left.
    A mask is a coarse grid of 0 and 1, enlarged bilinearly and shifted by a part of a cell.

    Source: Petsiuk, Das, Saenko, BMVC 2018, equation 6 and section 3.2.
    """
    height, width = images.shape[-2:]
    drawn = _rise_masks(masks, cells, kept, (height, width), seed)
    with explaining(model, images, targets) as extractor, torch.no_grad():
        total = images.new_zeros(len(images), height, width)
        for part, answers in _answers(extractor, images, targets, masks, drawn, "probability"):
            total += torch.einsum("bp,phw->bhw", answers, drawn(part).to(images))
    return Explanation(total / (masks * kept), targets, "rise")


def occlusion(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """What the target's logit loses when one patch is taken away, (B, h, w), signed.

    captum's `FeatureAblation` over patches gives the same; here the copies of several images
    share a forward pass.

    Source: Zeiler and Fergus, ECCV 2014, section 4.2, on patches instead of a sliding square.
    """
    with explaining(model, images, targets) as extractor, torch.no_grad():
        height, width = extractor.grid
        one_gone = ~torch.eye(height * width, dtype=torch.bool)
        whole = of_targets(extractor.logits(images), targets)
        without = _of_coalitions(extractor, images, targets, one_gone)
        maps = (whole[:, None] - without).unflatten(1, extractor.grid)
    return Explanation(maps, targets, "occlusion", signed=True)


def kernel_shap(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    samples: int | None = None,
    seed: int = 0,
) -> Explanation:
    """Each patch's Shapley value for the target's logit, estimated, (B, h, w), signed.

    Complete: a map's sum is the logit less that of an image without any patch. All images share
    their coalitions, so one matrix is inverted for all; captum's `KernelShap` draws and fits
    image by image, which takes many times as long.

    samples: coalitions, drawn in pairs with their complements; by default 4 a patch. Where there
        are no more than that many, each is taken once, and the values are exact.

    Source: Lundberg and Lee, NIPS 2017, theorem 2; pairs after Covert and Lee, AISTATS 2021.
    """
    with explaining(model, images, targets) as extractor, torch.no_grad():
        height, width = extractor.grid
        patches = height * width
        present, weights = _coalitions(patches, samples or 4 * patches, seed)
        ends = torch.tensor([[False], [True]]).expand(2, patches)
        answers = _of_coalitions(extractor, images, targets, torch.cat([ends, present])).double()
        empty, whole, values = answers[:, 0], answers[:, 1], answers[:, 2:].cpu()  # (B, M)
        # The least squares over coalitions, subject to completeness, by Lagrange's multiplier.
        design = present.double()
        system = torch.ones(patches + 1, patches + 1, dtype=torch.float64)
        system[-1, -1] = 0
        system[:-1, :-1] = design.T @ (design * weights[:, None])
        right = (values - empty[:, None].cpu()) * weights @ design  # (B, N)
        right = torch.cat([right, (whole - empty).cpu()[:, None]], dim=1)
        shares = right @ torch.linalg.pinv(system, hermitian=True)
        maps = shares[:, :-1].to(images).unflatten(1, extractor.grid)
    return Explanation(maps, targets, "kernel_shap", signed=True)


def _coalitions(patches: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Which patches are present, (M, N) bool, and the weight of each coalition, (M,) float64.

    Neither nobody nor all: these two are known to be met exactly. A coalition of s patches weighs
    `(N - 1) / (C(N, s) s (N - s))`; where they are drawn, they are drawn by that weight.
    """
    sizes = torch.arange(1, patches, dtype=torch.float64)
    of_size = (patches - 1) / (sizes * (patches - sizes))  # of all coalitions of a size
    if 2**patches - 2 <= samples:
        numbers = torch.arange(1, 2**patches - 1)
        present = (numbers[:, None] >> torch.arange(patches)) & 1 == 1
        chosen = present.sum(dim=1) - 1
        ways = torch.bincount(chosen, minlength=patches - 1)
        return present, of_size[chosen] / ways[chosen]
    generator = torch.Generator().manual_seed(seed)
    pairs = (samples + 1) // 2
    drawn = 1 + torch.multinomial(of_size, pairs, replacement=True, generator=generator)
    order = torch.rand(pairs, patches, generator=generator).argsort(dim=1).argsort(dim=1)
    half = order < drawn[:, None]
    return torch.cat([half, ~half]), torch.ones(2 * pairs, dtype=torch.float64)


def _rise_masks(count: int, cells: int, kept: float, size: tuple[int, int], seed: int) -> Masks:
    """The masks of RISE, made when they are asked for: only their coarse grids are held."""
    generator = torch.Generator().manual_seed(seed)
    coarse = (torch.rand(count, 1, cells, cells, generator=generator) < kept).float()
    steps = [-(-pixels // cells) for pixels in size]  # pixels a cell, rounded up
    shifts = [torch.randint(step, (count,), generator=generator).tolist() for step in steps]
    large = [step * (cells + 1) for step in steps]

    def made(part: slice) -> Tensor:
        fine = F.interpolate(coarse[part], large, mode="bilinear", align_corners=False)[:, 0]
        cut = zip(fine, shifts[0][part], shifts[1][part], strict=True)
        return torch.stack([one[y : y + size[0], x : x + size[1]] for one, y, x in cut])

    return made


def _of_coalitions(
    extractor: Extractor, images: Tensor, targets: Tensor, present: Tensor
) -> Tensor:
    """The target's logit with only some patches (M, N) there, (B, M)."""
    height, width = (
        pixels // patches for pixels, patches in zip(images.shape[-2:], extractor.grid, strict=True)
    )

    def masks(part: slice) -> Tensor:
        patches = present[part].unflatten(1, extractor.grid).float()
        return patches.repeat_interleave(height, dim=1).repeat_interleave(width, dim=2)

    parts = _answers(extractor, images, targets, len(present), masks, "logit")
    return torch.cat([answers for _, answers in parts], dim=1)


def _answers(
    extractor: Extractor, images: Tensor, targets: Tensor, count: int, masks: Masks, score: str
) -> Iterator[tuple[slice, Tensor]]:
    """What the predictor says of all images under one part of the masks after another.

    Yields the part, and the target's probability or logit, (B, n).
    """
    for start in range(0, count, COPIES):
        part = slice(start, min(start + COPIES, count))
        left = masks(part).to(images)[:, None]  # (n, 1, H, W)
        answers = images.new_empty(len(images), len(left))
        together = max(1, COPIES // len(left))  # images
        for at in range(0, len(images), together):
            some = slice(at, at + together)
            copies = (images[some, None] * left).flatten(0, 1)
            logits = extractor.logits(copies)
            if score == "probability":
                logits = logits.softmax(dim=-1)
            chosen = targets[some].repeat_interleave(len(left))
            answers[some] = of_targets(logits, chosen).view(-1, len(left)).to(answers)
        yield part, answers
