"""Effect simulation: the contributions go where the predictor's answer comes from.

At a visibility of each patch that is random, uniform and independent of the others', the gradient
of the predictor's answer with respect to the visibilities is a noisy sample of what each patch
does to the answer. Of a function that is linear in each patch's visibility, as the multilinear
extension of a game is (Owen 1972), its mean is each patch's Banzhaf value: what it adds to a set
of the others, all sets alike (Banzhaf 1965), whose ranks withstand noise better than those of
other such values, Shapley's among them (Wang and Jia, AISTATS 2023, arXiv 2205.15466). Learning
from samples is what expected gradients do for a prior on attributions (Erion et al., Nature
Machine Intelligence 2021). Here the contributions learn their direction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from iavit.config import ObjectiveConfig
from iavit.masking.sampling import blend_images
from iavit.objective.inputs import Inputs


def patch_effects(
    predict: Callable[[Tensor], Tensor], images: Tensor, classes: Tensor, grid: tuple[int, int]
) -> Tensor:
    """Samples of each patch's effect on a class's logit, (B, N): the mean of two an image.

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
    """(2, count, N) uniform from 0 to 1, each patch by itself; the second time the rest of it.

    With the two so placed their mean is nearer to the expectation than that of two drawn apart.
    """
    visibility = torch.rand(count, patches, device=device)
    return torch.stack([visibility, 1 - visibility])


def effect_simulation(contributions: Tensor, effects: Tensor) -> Tensor:
    """`mean_i 1 - cos(contributions_i, effects_i)`, both (B, N), a scalar from 0 to 2.

    contributions: to the class that the effects are on.
    effects: of `patch_effects`; no gradient reaches them. An image without any counts as 1.
    """
    return 1 - F.cosine_similarity(contributions, effects.detach(), dim=-1, eps=1e-6).mean()


def effect_attention(attention: Tensor, effects: Tensor) -> Tensor:
    """`mean_i 1 - correlation(attention_i, effects_i)` over patches, both (B, N), from 0 to 2.

    The attention is a probability vector and cannot say what speaks against a class, so what it
    is asked for is the order of the patches, up to shift and scale.
    """
    return effect_simulation(_centred(attention), _centred(effects))


def _centred(maps: Tensor) -> Tensor:
    return maps - maps.mean(dim=-1, keepdim=True)


def effect_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor | None:
    """`effect_simulation` of the images that were sampled; None where there are none."""
    if inputs.effect is None:
        return None
    return effect_simulation(inputs.effect.contributions, inputs.effect.effects)


def effect_attention_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor | None:
    """`effect_attention` of the images that were sampled; None where there are none."""
    if inputs.effect is None:
        return None
    return effect_attention(inputs.effect.attention, inputs.effect.effects)
