"""Explanations by asking the predictor about images of which only a part is left.

What is taken away becomes 0, the mean colour of normalised pixels. Which parts are left is drawn
once from a seed and is the same for every image, so that a map depends on its image alone.
Occlusion and KernelSHAP hide whole patches, for which the masking engine makes the copies.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iavit.explain.recording import target_logits
from iavit.masking.engine import Perturbation, masked_answers
from iavit.model.explainable import explaining, predictor_of
from iavit.types import Explanation

COPIES = 256  # softly masked images a forward pass

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
    A mask is a coarse grid of 0 and 1, enlarged bilinearly and shifted by a part of a cell. Its
    values between 0 and 1 are not those of the masking engine, which shows a unit or hides it.

    Source: Petsiuk, Das, Saenko, BMVC 2018, equation 6 and section 3.2.
    """
    with explaining(model, images, targets) as (predictor, images, targets), torch.no_grad():
        height, width = images.shape[2:]
        drawn = rise_masks(masks, cells, kept, (height, width), seed)
        total = images.new_zeros(len(images), height, width)
        for start in range(0, masks, COPIES):
            left = drawn(slice(start, min(start + COPIES, masks))).to(images)  # (n, H, W)
            answers = images.new_empty(len(images), len(left))
            together = max(1, COPIES // len(left))  # images
            for at in range(0, len(images), together):
                some = slice(at, at + together)
                copies = (images[some, None] * left[:, None]).flatten(0, 1)
                probabilities = predictor.logits(copies).softmax(dim=1)
                chosen = targets[some].repeat_interleave(len(left))
                answers[some] = target_logits(probabilities, chosen).view(-1, len(left)).to(answers)
            total += torch.einsum("bp,phw->bhw", answers, left)
    return Explanation(total / (masks * kept), targets, "rise")


def occlusion(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """What the target's logit loses when one patch is taken away, (B, h, w), signed.

    captum's `FeatureAblation` over patches gives the same; here the copies of several images
    share a forward pass.

    Source: Zeiler and Fergus, ECCV 2014, section 4.2, on patches instead of a sliding square.
    """
    grid = predictor_of(model).grid
    patches = grid[0] * grid[1]
    all_there = torch.ones(1, patches, dtype=torch.bool)
    one_gone = ~torch.eye(patches, dtype=torch.bool)
    logits = _of_coalitions(model, images, targets, torch.cat([all_there, one_gone]))
    maps = (logits[:, :1] - logits[:, 1:]).to(images.dtype).unflatten(1, grid)
    return Explanation(maps, targets.long(), "occlusion", signed=True)


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
    grid = predictor_of(model).grid
    patches = grid[0] * grid[1]
    present, weights = coalitions(patches, samples or 4 * patches, seed)
    ends = torch.tensor([[False], [True]]).expand(2, patches)
    logits = _of_coalitions(model, images, targets, torch.cat([ends, present])).double().cpu()
    empty, whole, values = logits[:, 0], logits[:, 1], logits[:, 2:]  # (B,), (B,), (B, M)
    # The least squares over coalitions, subject to completeness, by Lagrange's multiplier.
    design = present.double()
    system = torch.ones(patches + 1, patches + 1, dtype=torch.float64)
    system[-1, -1] = 0
    system[:-1, :-1] = design.T @ (design * weights[:, None])
    right = (values - empty[:, None]) * weights @ design  # (B, N)
    right = torch.cat([right, (whole - empty)[:, None]], dim=1)
    shares = right @ torch.linalg.pinv(system, hermitian=True)
    maps = shares[:, :-1].to(images).unflatten(1, grid)
    return Explanation(maps, targets.long(), "kernel_shap", signed=True)


def coalitions(patches: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    """Which patches are present, (M, N) bool, and the weight of each coalition, (M,) float64.

    Neither nobody nor all: these two are known to be met exactly. A coalition of s patches weighs
    `(N - 1) / (C(N, s) s (N - s))`; where they are drawn, they are drawn by that weight.
    """
    sizes = torch.arange(1, patches, dtype=torch.float64)
    weights = (patches - 1) / (sizes * (patches - sizes))  # of all coalitions of a size
    if 2**patches - 2 <= samples:
        numbers = torch.arange(1, 2**patches - 1)
        present = (numbers[:, None] >> torch.arange(patches)) & 1 == 1
        chosen = present.sum(dim=1) - 1
        ways = torch.bincount(chosen)
        return present, weights[chosen] / ways[chosen]
    generator = torch.Generator().manual_seed(seed)
    pairs = (samples + 1) // 2
    drawn = 1 + torch.multinomial(weights, pairs, replacement=True, generator=generator)
    order = torch.rand(pairs, patches, generator=generator).argsort(dim=1).argsort(dim=1)
    half = order < drawn[:, None]
    return torch.cat([half, ~half]), torch.ones(2 * pairs, dtype=torch.float64)


def rise_masks(count: int, cells: int, kept: float, size: tuple[int, int], seed: int) -> Masks:
    """The masks of RISE, made when they are asked for: only their coarse grids are held.

    Beyond the outermost cells' centres the grid keeps their values; the authors' code mirrors it
    there, so that masks differ from theirs within half a cell of the grid's border.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = (torch.rand(count, 1, cells, cells, generator=generator) < kept).float()
    steps = [-(-pixels // cells) for pixels in size]  # pixels a cell, rounded up
    shifts = [torch.randint(step, (count,), generator=generator).tolist() for step in steps]
    large = [step * (cells + 1) for step in steps]

    def made(part: slice) -> Tensor:
        fine = F.interpolate(coarse[part], large, mode="bilinear")[:, 0]
        cut = zip(fine, shifts[0][part], shifts[1][part], strict=True)
        return torch.stack([one[y : y + size[0], x : x + size[1]] for one, y, x in cut])

    return made


def _of_coalitions(model: nn.Module, images: Tensor, targets: Tensor, present: Tensor) -> Tensor:
    """The target's logit with only some patches (M, N) there, (B, M)."""
    visible = present.unflatten(1, predictor_of(model).grid).expand(len(images), -1, -1, -1)
    return masked_answers(model, images, targets, visible, Perturbation(score="logit")).scores
