"""Path simulation: the contributions go where the predictor's answer comes from.

Along random ways from an image of which nothing is visible to the whole of it, the gradient of
the predictor's answer with respect to each patch's visibility is a noisy sample of what the patch
adds to the answer: its mean over the way from nothing to everything, all patches equally visible,
is integrated gradients over patches (Sundararajan et al. 2017), and of a function that is linear
in each patch's visibility, as the multilinear extension of a game is, the Shapley value (Owen
1972). Learning from one sample a step is what expected gradients do for a prior on attributions
(Erion et al., Nature Machine Intelligence 2021). Here the contributions learn their direction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from iavit.objective.masking import blend_images


def path_gradient(
    predict: Callable[[Tensor], Tensor], images: Tensor, classes: Tensor, grid: tuple[int, int]
) -> Tensor:
    """One sample of each patch's effect on the log-probability of a class, (B, N).

    `d log softmax(predict(x_v))_c / d v_k` at a random visibility `v` (see `draw_visibility`),
    where `x_v` is the image blended with a random substrate (see `blend_images`).

    predict: (B, 3, H, W) to logits (B, C), each image's by itself: a model in evaluation mode.
    images: (B, 3, H, W). classes: (B,) int64. grid: (h, w).

    Gradient is switched on inside, and none is left on parameters.
    """
    visibility = draw_visibility(len(images), grid[0] * grid[1], images.device).requires_grad_()
    with torch.enable_grad():
        logits = predict(blend_images(images, visibility, grid))
        answers = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=-1)
        chosen = answers.gather(1, classes[:, None])
        (gradient,) = torch.autograd.grad(chosen.sum(), visibility)
    return gradient


def draw_visibility(count: int, patches: int, device: torch.device) -> Tensor:
    """(count, N) from 0 to 1: a share for each image, each patch up to 1/2 from it.

    Were all patches equally visible, the samples would tell of pictures that only fade, never of
    pictures with parts missing; were they drawn apart, all pictures would be half visible.
    """
    share = torch.rand(count, 1, device=device)
    spread = torch.rand(count, patches, device=device) - 0.5
    return (share + spread).clamp(0, 1)


def path_simulation(contributions: Tensor, gradient: Tensor) -> Tensor:
    """`mean_i 1 - cos(contributions_i, gradient_i)`, both (B, N), a scalar from 0 to 2.

    contributions: to the class whose gradient it is.
    gradient: of `path_gradient`; no gradient reaches it. An image without any counts as 1.
    """
    return 1 - F.cosine_similarity(contributions, gradient.detach(), dim=-1, eps=1e-6).mean()
