"""Explanations by the gradient of the target's logit on pixels, and on patch tokens (Grad-CAM)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import Tensor, nn

from iavit.explain.recording import images_at_once, in_chunks, on_grid, record, target_logits
from iavit.model.explainable import Predictor, explaining, looking_inside
from iavit.types import Explanation


def saliency(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """The largest `|dy/dx|` over a pixel's channels, (B, H, W), `y` the target's logit.

    Source: Simonyan, Vedaldi, Zisserman, ICLR workshop 2014, section 3.1.
    """

    def over_pixels(predictor: Predictor, chunk: Tensor, chosen: Tensor) -> Tensor:
        return Saliency(predictor.logits).attribute(chunk, target=chosen).amax(dim=1)

    return _in_pixels(model, images, targets, over_pixels, "saliency")


def input_x_gradient(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """`x dy/dx`, summed over channels, (B, H, W), signed; a pixel of mean colour has none.

    Source: Shrikumar, Greenside, Kundaje et al., arXiv 1605.01713.
    """

    def over_pixels(predictor: Predictor, chunk: Tensor, chosen: Tensor) -> Tensor:
        return InputXGradient(predictor.logits).attribute(chunk, target=chosen).sum(dim=1)

    return _in_pixels(model, images, targets, over_pixels, "input_x_gradient", signed=True)


def integrated_gradients(
    model: nn.Module, images: Tensor, targets: Tensor, *, baseline: float = 0.0, steps: int = 50
) -> Explanation:
    """`(x - x') int_0^1 dy/dx (x' + t (x - x')) dt`, summed over channels, (B, H, W), signed.

    Complete: a map's sum is `y(x) - y(x')`, but for the error of the sum over steps.

    baseline: x', one value for all normalised pixels; 0 is the mean colour.
    steps: of the Gauss-Legendre sum.

    Source: Sundararajan, Taly, Yan, ICML 2017, equation 1.
    """

    def over_pixels(predictor: Predictor, chunk: Tensor, chosen: Tensor) -> Tensor:
        attributions: Tensor = IntegratedGradients(predictor.logits).attribute(
            chunk,
            baselines=baseline,
            target=chosen,
            n_steps=steps,
            internal_batch_size=images_at_once(predictor),
        )
        return attributions.sum(dim=1)

    return _in_pixels(model, images, targets, over_pixels, "integrated_gradients", signed=True)


def smoothgrad(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    *,
    samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
) -> Explanation:
    """Saliency of the mean gradient over noisy copies of the image, (B, H, W).

    The noise is drawn once and is the same for every image, up to its scale. captum's
    `NoiseTunnel` draws other noise for each image of a batch, so that a map would depend on
    what it was explained together with.

    samples: noisy copies an image.
    noise: the standard deviation, a share of the image's range (largest less smallest value).

    Source: Smilkov, Thorat, Kim et al., arXiv 1706.03825, section 3.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(samples, *images.shape[1:], generator=generator)

    def over_pixels(predictor: Predictor, chunk: Tensor, chosen: Tensor) -> Tensor:
        still = chunk.detach()
        scale = noise * (still.amax(dim=(1, 2, 3)) - still.amin(dim=(1, 2, 3)))
        gradient = Saliency(predictor.logits)
        total = torch.zeros_like(still)
        for one in drawn:
            noisy = (still + scale[:, None, None, None] * one.to(still)).requires_grad_()
            total += gradient.attribute(noisy, target=chosen, abs=False)
        return (total / samples).abs().amax(dim=1)

    return _in_pixels(model, images, targets, over_pixels, "smoothgrad")


def grad_cam(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """`relu(sum_d w_d z_d)` over the patch tokens `z` that enter the last block, (B, h, w).

    `w_d` is the mean over patches of `dy/dz_d`. Tokens that enter the last block, because a
    class token's logit has no gradient on patch tokens that leave it.

    Source: Selvaraju, Cogswell, Das et al., ICCV 2017, equations 1 and 2, the patch grid taken
    for a convolution's map.
    """
    with looking_inside(model, images, targets) as (extractor, images, targets):

        def over_patches(chunk: Tensor, chosen: Tensor) -> Tensor:
            recording, logits = record(extractor, chunk)
            tokens = recording.entered[-1]
            (gradient,) = torch.autograd.grad(target_logits(logits, chosen).sum(), tokens)
            weights = gradient[:, extractor.prefix :].mean(dim=1, keepdim=True)  # (B, 1, D)
            return on_grid(extractor, (tokens * weights).sum(dim=2).relu())

        maps = in_chunks(extractor, images, targets, over_patches)
    return Explanation(maps, targets, "grad_cam")


def _in_pixels(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    over_pixels: Callable[[Predictor, Tensor, Tensor], Tensor],
    method: str,
    *,
    signed: bool = False,
) -> Explanation:
    """What `over_pixels` gives for images that gradients can be taken on, (B, H, W)."""
    with explaining(model, images, targets) as (predictor, images, targets):
        maps = in_chunks(predictor, images, targets, partial(over_pixels, predictor))
    return Explanation(maps, targets, method, signed=signed)
