"""Explainers that ask about pixels, by gradients or by taking parts of the image away."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from captum.attr import FeatureAblation, KernelShap
from torch import Tensor

from iavit.explain import EXPLAINERS, perturbation
from iavit.explain.gradient import integrated_gradients, smoothgrad
from iavit.explain.perturbation import kernel_shap, rise
from tests.explain.models import GRID, HEIGHT, TARGETS, WIDTH, images, joined, plain

VIT = plain()
PATCHES = torch.arange(6).view(GRID).repeat_interleave(4, 0).repeat_interleave(4, 1)  # (H, W)


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
    maps = EXPLAINERS["input_x_gradient"](VIT, images(), TARGETS).maps
    expected = [(image * gradient(image, target)).sum(dim=0) for image, target in each()]
    torch.testing.assert_close(maps, torch.stack(expected))


@pytest.mark.parametrize("baseline", [0.0, -0.7])
def test_integrated_gradients_are_complete(baseline: float) -> None:
    maps = integrated_gradients(VIT, images(), TARGETS, baseline=baseline, steps=200).maps
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


def test_smoothgrad_without_noise_is_saliency() -> None:
    maps = smoothgrad(VIT, images(), TARGETS, samples=2, noise=0.0).maps
    torch.testing.assert_close(maps, EXPLAINERS["saliency"](VIT, images(), TARGETS).maps)


def test_occlusion_is_captums_ablation_of_patches() -> None:
    maps = EXPLAINERS["occlusion"](VIT, images(), TARGETS).maps
    ablation = FeatureAblation(VIT).attribute(images(), target=TARGETS, feature_mask=PATCHES[None])
    torch.testing.assert_close(
        maps.repeat_interleave(4, 1).repeat_interleave(4, 2), ablation[:, 0].double()
    )


def left(image: Tensor, present: set[int]) -> Tensor:
    """The image, other patches being 0."""
    kept = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    for patch in present:
        kept |= patch == PATCHES
    return torch.where(kept, image, 0.0)


def test_kernel_shap_of_all_coalitions_is_shapleys_value() -> None:
    """By its definition: a patch's mean gain over all 720 orders of joining."""
    image, target = images()[1], int(TARGETS[1])
    worth = {
        members: float(logit(left(image, set(members)), target))
        for size in range(7)
        for members in {tuple(sorted(order[:size])) for order in permutations(range(6))}
    }
    values = torch.zeros(6, dtype=torch.float64)
    for order in permutations(range(6)):
        for at, patch in enumerate(order):
            before = tuple(sorted(order[:at]))
            values[patch] += worth[tuple(sorted((*before, patch)))] - worth[before]
    found = kernel_shap(VIT, image[None], TARGETS[1:2], samples=62).maps[0]
    torch.testing.assert_close(found.flatten(), values / 720)


@pytest.mark.parametrize("samples", [None, 11, 62])
def test_kernel_shap_is_complete(samples: int | None) -> None:
    maps = kernel_shap(VIT, images(), TARGETS, samples=samples).maps
    gains = [logit(image, target) - logit(0 * image, target) for image, target in each()]
    torch.testing.assert_close(maps.sum(dim=(1, 2)), torch.stack(gains))


def test_kernel_shap_is_near_captums() -> None:
    """Both estimate the same values; captum's solves a penalised problem of other draws."""
    image, target = images()[:1], TARGETS[:1]
    theirs = KernelShap(VIT).attribute(
        image, target=target, feature_mask=PATCHES[None], n_samples=400, perturbations_per_eval=50
    )
    theirs = theirs[0, 0, ::4, ::4].double()
    ours = kernel_shap(VIT, image, target, samples=62).maps[0]
    assert float((ours - theirs).norm() / ours.norm()) < 0.2


def test_more_coalitions_come_nearer_to_the_exact_values() -> None:
    exact = kernel_shap(VIT, images(), TARGETS, samples=62).maps
    errors = [
        torch.stack([kernel_shap(VIT, images(), TARGETS, samples=n, seed=s).maps for s in range(6)])
        .sub(exact)
        .norm()
        for n in (12, 48)
    ]
    assert errors[1] < errors[0]


def test_coalitions_come_with_their_complements_and_never_all_or_none() -> None:
    present, _ = perturbation._coalitions(7, 20, seed=0)
    assert present.shape == (20, 7)
    assert torch.equal(present[:10], ~present[10:])
    assert set(present.sum(dim=1).tolist()) <= set(range(1, 7))


def test_rise_is_the_mean_mask_weighted_by_probability() -> None:
    maps = rise(VIT, images(), TARGETS, masks=11, cells=3, kept=0.4, seed=2).maps
    masks = perturbation._rise_masks(11, 3, 0.4, (HEIGHT, WIDTH), seed=2)(slice(0, 11)).double()
    for found, (image, target) in zip(maps, each(), strict=True):
        total = torch.zeros(HEIGHT, WIDTH, dtype=torch.float64)
        for mask in masks:
            total += VIT((image * mask)[None])[0].softmax(dim=0)[target] * mask
        torch.testing.assert_close(found, total / (11 * 0.4))


def test_masks_of_rise_leave_their_share_and_are_smooth() -> None:
    masks = perturbation._rise_masks(3000, 5, 0.3, (23, 17), seed=0)(slice(0, 3000))
    assert masks.shape == (3000, 23, 17)
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6
    assert float((masks.mean(dim=0) - 0.3).abs().max()) < 0.05  # everywhere, thanks to the shifts
    assert float(masks.diff(dim=1).abs().max()) <= 1 / 5 + 1e-6  # a cell is five pixels high
    assert float(masks.diff(dim=2).abs().max()) <= 1 / 4 + 1e-6
    parts = perturbation._rise_masks(3000, 5, 0.3, (23, 17), seed=0)(slice(100, 107))
    assert torch.equal(parts, masks[100:107])


@pytest.mark.parametrize("name", ["rise", "kernel_shap", "smoothgrad"])
def test_what_is_drawn_depends_on_the_seed_alone(name: str) -> None:
    explain: Any = {"rise": rise, "kernel_shap": kernel_shap, "smoothgrad": smoothgrad}[name]
    few = {"rise": {"masks": 20}, "kernel_shap": {"samples": 12}, "smoothgrad": {"samples": 2}}
    before = torch.get_rng_state()
    first, other, again = (
        explain(VIT, images(), TARGETS, seed=seed, **few[name]).maps for seed in (0, 1, 0)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_no_more_copies_than_memory_is_meant_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = joined(), []
    whole = {name: EXPLAINERS[name](model, images(), TARGETS).maps for name in ("occlusion",)}
    monkeypatch.setattr(perturbation, "COPIES", 4)
    model.extractor.backbone.patch_embed.register_forward_pre_hook(
        lambda _module, inputs: sizes.append(len(inputs[0]))
    )
    found = EXPLAINERS["occlusion"](model, images(), TARGETS).maps
    torch.testing.assert_close(found, whole["occlusion"])
    assert max(sizes) <= 4
