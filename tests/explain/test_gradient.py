"""Explainers by gradients with respect to pixels and, Grad-CAM, to tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from iavit.explain import EXPLAINERS
from iavit.explain.gradient import integrated_gradients, smoothgrad
from tests.explain.models import HEIGHT, PREFIX, TARGETS, WIDTH, images, plain
from tests.reference import explain_backward as twin

VIT = plain()


def logit(image: Tensor, target: int) -> Tensor:
    logits: Tensor = VIT(image[None])
    return logits[0, target]


def gradient(image: Tensor, target: int) -> Tensor:
    leaf = image.clone().requires_grad_()
    (found,) = torch.autograd.grad(logit(leaf, target), leaf)
    return found


def each() -> Any:
    return zip(images(), TARGETS.tolist(), strict=True)


def test_saliency_is_the_largest_slope_of_a_pixel() -> None:
    maps = EXPLAINERS["saliency"](VIT, images(), TARGETS).maps
    step = 1e-6
    for number, (image, target) in enumerate(each()):
        for y, x in ((0, 0), (7, 2), (11, 7)):
            slopes = []
            for channel in range(3):
                up, down = image.clone(), image.clone()
                up[channel, y, x] += step
                down[channel, y, x] -= step
                slopes.append(float((logit(up, target) - logit(down, target)).abs() / (2 * step)))
            assert float(maps[number, y, x]) == pytest.approx(max(slopes), rel=1e-5)


def test_input_x_gradient_is_their_product() -> None:
    explanation = EXPLAINERS["input_x_gradient"](VIT, images(), TARGETS)
    expected = [(image * gradient(image, target)).sum(dim=0) for image, target in each()]
    torch.testing.assert_close(explanation.maps, torch.stack(expected))
    assert explanation.signed


@pytest.mark.parametrize("baseline", [0.0, -0.7])
def test_integrated_gradients_are_complete(baseline: float) -> None:
    explanation = integrated_gradients(VIT, images(), TARGETS, baseline=baseline, steps=200)
    maps = explanation.maps
    assert explanation.signed
    black = torch.full_like(images(), baseline)
    expected = [logit(image, target) - logit(black[0], target) for image, target in each()]
    torch.testing.assert_close(maps.sum(dim=(1, 2)), torch.stack(expected), rtol=1e-3, atol=1e-3)


def test_smoothgrad_is_the_mean_gradient_of_shared_noise() -> None:
    maps = smoothgrad(VIT, images(), TARGETS, samples=4, noise=0.2, seed=3).maps
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(4, 3, HEIGHT, WIDTH, generator=generator).double()
    for found, (image, target) in zip(maps, each(), strict=True):
        width = 0.2 * (image.max() - image.min())
        mean = sum((gradient(image + width * one, target) for one in noise), torch.zeros(())) / 4
        torch.testing.assert_close(found, mean.abs().amax(dim=0))


def test_integrated_gradients_are_gausss_sum_between_baseline_and_image() -> None:
    """Two steps: at (1 -+ 1 / sqrt(3)) / 2 of the way, each half."""
    maps = integrated_gradients(VIT, images(), TARGETS, baseline=0.3, steps=2).maps
    for found, (image, target) in zip(maps, each(), strict=True):
        difference = image - 0.3
        at = [(1 + sign / 3**0.5) / 2 for sign in (-1, 1)]
        mean = sum((gradient(0.3 + t * difference, target) for t in at), torch.zeros(())) / 2
        torch.testing.assert_close(found, (difference * mean).sum(dim=0))


def test_by_default_steps_and_samples_are_as_many_as_documented() -> None:
    image, target = images()[:1], TARGETS[:1]
    plain = integrated_gradients(VIT, image, target).maps
    named = integrated_gradients(VIT, image, target, baseline=0.0, steps=50).maps
    assert torch.equal(named, plain)
    plain = smoothgrad(VIT, image, target).maps
    named = smoothgrad(VIT, image, target, samples=50, noise=0.15, seed=0).maps
    assert torch.equal(named, plain)


def test_smoothgrad_without_noise_is_saliency() -> None:
    maps = smoothgrad(VIT, images(), TARGETS, samples=2, noise=0.0).maps
    torch.testing.assert_close(maps, EXPLAINERS["saliency"](VIT, images(), TARGETS).maps)


def test_what_smoothgrad_draws_depends_on_the_seed_alone() -> None:
    before = torch.get_rng_state()
    first, other, again = (
        smoothgrad(VIT, images(), TARGETS, seed=seed, samples=2).maps for seed in (0, 1, 0)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_grad_cam_equals_the_twin() -> None:
    maps = EXPLAINERS["grad_cam"](VIT, images(), TARGETS).maps
    for image, target, found in zip(images(), TARGETS.tolist(), maps, strict=True):
        torch.testing.assert_close(found.flatten(), twin.grad_cam(VIT, image, target, PREFIX))
    assert (maps > 0).any()
