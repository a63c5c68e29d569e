"""Explainers that take parts of the image away."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import pytest
import torch
from captum.attr import FeatureAblation, KernelShap
from torch import Tensor

from iavit.explain import EXPLAINERS
from iavit.explain.perturbation import coalitions, kernel_shap, rise, rise_masks
from iavit.masking import engine
from tests.explain.models import GRID, HEIGHT, TARGETS, WIDTH, images, joined, plain

VIT = plain()
PATCHES = torch.arange(6).view(GRID).repeat_interleave(4, 0).repeat_interleave(4, 1)  # (H, W)


def logit(image: Tensor, target: int) -> Tensor:
    logits: Tensor = VIT(image[None])
    return logits[0, target]


def each() -> Any:
    return zip(images(), TARGETS.tolist(), strict=True)


def test_occlusion_is_captums_ablation_of_patches() -> None:
    explanation = EXPLAINERS["occlusion"](VIT, images(), TARGETS)
    assert explanation.signed
    maps = explanation.maps
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
    explanation = kernel_shap(VIT, images(), TARGETS, samples=samples)
    assert explanation.signed
    maps = explanation.maps
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


def test_where_as_many_are_asked_for_as_there_are_each_is_taken_once() -> None:
    present, weights = coalitions(4, 14, seed=0)
    assert sorted(map(tuple, present.tolist())) == sorted(product([False, True], repeat=4))[1:-1]
    # 3 / (C(4, s) s (4 - s)): of one or three patches 1/4, of two 1/8.
    expected = [{1: 1 / 4, 2: 1 / 8, 3: 1 / 4}[sum(each)] for each in present.tolist()]
    assert weights.tolist() == pytest.approx(expected)


def test_coalitions_come_with_their_complements_and_never_all_or_none() -> None:
    present, _ = coalitions(7, 20, seed=0)
    assert present.shape == (20, 7)
    assert torch.equal(present[:10], ~present[10:])
    assert set(present.sum(dim=1).tolist()) <= set(range(1, 7))


def test_rise_is_the_mean_mask_weighted_by_probability() -> None:
    maps = rise(VIT, images(), TARGETS, masks=11, cells=3, kept=0.4, seed=2).maps
    masks = rise_masks(11, 3, 0.4, (HEIGHT, WIDTH), seed=2)(slice(0, 11)).double()
    for found, (image, target) in zip(maps, each(), strict=True):
        total = torch.zeros(HEIGHT, WIDTH, dtype=torch.float64)
        for mask in masks:
            total += VIT((image * mask)[None])[0].softmax(dim=0)[target] * mask
        torch.testing.assert_close(found, total / (11 * 0.4))


def test_by_default_masks_and_coalitions_are_as_many_as_documented() -> None:
    image, target = images()[:1], TARGETS[:1]
    plain = rise(VIT, image, target).maps
    assert torch.equal(rise(VIT, image, target, masks=1000, cells=7, kept=0.5, seed=0).maps, plain)
    plain = kernel_shap(VIT, image, target).maps
    assert torch.equal(kernel_shap(VIT, image, target, samples=24, seed=0).maps, plain)


def test_masks_of_rise_leave_their_share_and_are_smooth() -> None:
    masks = rise_masks(3000, 5, 0.3, (23, 17), seed=0)(slice(0, 3000))
    assert masks.shape == (3000, 23, 17)
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6
    assert float((masks.mean(dim=0) - 0.3).abs().max()) < 0.05  # everywhere, thanks to the shifts
    assert float(masks.diff(dim=1).abs().max()) <= 1 / 5 + 1e-6  # a cell is five pixels high
    assert float(masks.diff(dim=2).abs().max()) <= 1 / 4 + 1e-6
    parts = rise_masks(3000, 5, 0.3, (23, 17), seed=0)(slice(100, 107))
    assert torch.equal(parts, masks[100:107])


@pytest.mark.parametrize("name", ["rise", "kernel_shap"])
def test_what_is_drawn_depends_on_the_seed_alone(name: str) -> None:
    explain: Any = {"rise": rise, "kernel_shap": kernel_shap}[name]
    few = {"rise": {"masks": 20}, "kernel_shap": {"samples": 12}}
    before = torch.get_rng_state()
    first, other, again = (
        explain(VIT, images(), TARGETS, seed=seed, **few[name]).maps for seed in (0, 1, 0)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("name", ["occlusion", "kernel_shap"])
def test_the_masking_engine_bounds_how_many_copies_are_held(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sizes = joined(), []
    whole = EXPLAINERS[name](model, images(), TARGETS).maps
    extractor = model.extractor
    tokens = (extractor.prefix + GRID[0] * GRID[1]) * extractor.backbone.embed_dim
    monkeypatch.setattr(engine, "CPU_ELEMENTS", 4 * tokens)
    extractor.backbone.blocks[0].norm1.register_forward_pre_hook(
        lambda _module, inputs: sizes.append(len(inputs[0]))
    )
    found = EXPLAINERS[name](model, images(), TARGETS).maps
    torch.testing.assert_close(found, whole)
    assert max(sizes) == 4


@pytest.mark.parametrize("name", ["occlusion", "kernel_shap"])
def test_out_of_memory_the_copies_become_fewer_and_the_maps_stay(name: str) -> None:
    model = joined()
    whole = EXPLAINERS[name](model, images(), TARGETS).maps

    def full(_module: object, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > 5:
            raise torch.OutOfMemoryError("no room")

    model.extractor.backbone.blocks[0].norm1.register_forward_pre_hook(full)
    with pytest.warns(UserWarning, match="out of memory: went on with 4 masked copies"):
        found = EXPLAINERS[name](model, images(), TARGETS).maps
    torch.testing.assert_close(found, whole)
