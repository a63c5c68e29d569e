"""Path simulation: the contributions go where the predictor's answer comes from.

Along random ways from an image of which nothing is visible to the whole of it, the gradient of
the predictor's answer with respect to each patch's visibility is a noisy sample of what the patch
adds to the answer: its mean over the way from nothing to everything, all patches equally visible,
is integrated gradients over patches (Sundararajan et al. 2017), and of a function that is linear
in each patch's visibility, as the multilinear extension of a game is, the Shapley value (Owen
1972). Learning from samples is what expected gradients do for a prior on attributions
(Erion et al., Nature Machine Intelligence 2021). Here the contributions learn their direction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from iavit.config import ObjectiveConfig
from iavit.masking.sampling import blend_images
from iavit.objective.inputs import Inputs


def path_gradient(
    predict: Callable[[Tensor], Tensor], images: Tensor, classes: Tensor, grid: tuple[int, int]
) -> Tensor:
    """Each patch's effect on a class's logit, (B, N): the mean of two samples an image.

    `d predict(x_v)_c / d v_k` at random visibilities `v` (see `draw_visibility`), where `x_v` is
    the image blended with a random substrate (see `blend_images`). Of the logit, which does not
    saturate: of the probability or its logarithm a sample says less of the mean.

    predict: (B, 3, H, W) to logits (B, C), each image's by itself: a model in evaluation mode.
    images: (B, 3, H, W). classes: (B,) int64. grid: (h, w).

    Gradient is switched on inside, and none is left on parameters.
    """
    visibility = draw_visibility(len(images), grid[0] * grid[1], images.device).requires_grad_()
    with torch.enable_grad():
        blended = blend_images(images.repeat(2, 1, 1, 1), visibility.flatten(0, 1), grid)
        chosen = predict(blended).gather(1, classes.repeat(2)[:, None])
        (gradient,) = torch.autograd.grad(chosen.sum(), visibility)
    return gradient.mean(dim=0)


def draw_visibility(count: int, patches: int, device: torch.device) -> Tensor:
    """(2, count, N) from 0 to 1: a share for each image, each patch up to 1/4 from it; twice.

    The second time half of the way further on, and each patch as far on the share's other side:
    with the two so placed their mean is nearer to that of the way than of two drawn apart.
    Were all patches equally visible, the samples would tell of pictures that only fade, never of
    pictures with parts missing; were each patch drawn by itself, all pictures would be half
    visible.
    """
    share = torch.rand(count, 1, device=device) / 2
    spread = (torch.rand(count, patches, device=device) - 0.5) / 2
    return torch.stack([share + spread, share + 0.5 - spread]).clamp(0, 1)


def path_simulation(contributions: Tensor, gradient: Tensor) -> Tensor:
    """`mean_i 1 - cos(contributions_i, gradient_i)`, both (B, N), a scalar from 0 to 2.

    contributions: to the class whose gradient it is.
    gradient: of `path_gradient`; no gradient reaches it. An image without any counts as 1.
    """
    return 1 - F.cosine_similarity(contributions, gradient.detach(), dim=-1, eps=1e-6).mean()


def path_attention(attention: Tensor, gradient: Tensor) -> Tensor:
    """`mean_i 1 - correlation(attention_i, gradient_i)` over patches, both (B, N), from 0 to 2.

    The attention is a probability vector and cannot say what speaks against a class, so what it
    is asked for is the order of the patches, up to shift and scale.
    """
    return path_simulation(_centred(attention), _centred(gradient))


def _centred(maps: Tensor) -> Tensor:
    return maps - maps.mean(dim=-1, keepdim=True)


def path_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor | None:
    """`path_simulation` of the images that were sampled; None where there are none."""
    if inputs.path is None:
        return None
    return path_simulation(inputs.path.contributions, inputs.path.gradient)


def path_attention_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor | None:
    """`path_attention` of the images that were sampled; None where there are none."""
    if inputs.path is None:
        return None
    return path_attention(inputs.path.attention, inputs.path.gradient)
