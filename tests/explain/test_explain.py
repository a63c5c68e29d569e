"""The explanations that cost one forward pass, and the one that knows nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from iavit.explain import EXPLAINERS
from iavit.model.explainable import extractor_of
from iavit.model.iavit import IAViT
from tests.explain.models import CLASSES, GRID, PREFIX, TARGETS, images, joined, of_family
from tests.reference import explain as twin
from tests.reference import interpreter as interpreter_twin
from tests.reference.attention import mean_received

FROM_THE_MODEL = ["interpreter", "contributions", "raw_attention", "rollout", "attention_received"]
NAMES = [*FROM_THE_MODEL, "random"]


@pytest.fixture(scope="module")
def model() -> IAViT:
    return joined()


def on_grid(over_patches: Tensor) -> Tensor:
    """(B, N) to (B, h, w): patches lie row by row."""
    height, width = GRID
    maps = torch.zeros(len(over_patches), height, width, dtype=over_patches.dtype)
    for row in range(height):
        for column in range(width):
            maps[:, row, column] = over_patches[:, row * width + column]
    return maps


def patch_tokens(model: IAViT) -> Tensor:
    tokens: Tensor = model.extractor.backbone.forward_features(images())
    return tokens[:, PREFIX:]


def test_interpreter_is_its_attention(model: IAViT) -> None:
    parameters = model.interpreter.state_dict()
    expected = torch.stack([interpreter_twin.received(parameters, z) for z in patch_tokens(model)])
    maps = EXPLAINERS["interpreter"](model, images(), TARGETS).maps
    torch.testing.assert_close(maps, on_grid(expected))


def test_contributions_are_those_to_the_target(model: IAViT) -> None:
    parameters = model.interpreter.state_dict()
    expected = torch.stack(
        [
            interpreter_twin.mean_contributions(parameters, z)[:, target]
            for z, target in zip(patch_tokens(model), TARGETS.tolist(), strict=True)
        ]
    )
    maps = EXPLAINERS["contributions"](model, images(), TARGETS).maps
    torch.testing.assert_close(maps, on_grid(expected))


def test_contributions_and_bias_add_up_to_the_targets_logit(model: IAViT) -> None:
    maps = EXPLAINERS["contributions"](model, images(), TARGETS).maps
    logits = model(images()).interpreter_logits
    expected = logits.gather(1, TARGETS[:, None])[:, 0] - model.interpreter.bias[TARGETS]
    torch.testing.assert_close(maps.sum(dim=(1, 2)), expected)


def test_contributions_with_a_head_by_position_are_those_to_the_target() -> None:
    model = joined("positional")
    every_class = model.contributions(images())  # (B, N, C), which has its twin elsewhere
    expected = torch.stack([every_class[i, :, t] for i, t in enumerate(TARGETS.tolist())])
    maps = EXPLAINERS["contributions"](model, images(), TARGETS).maps
    torch.testing.assert_close(maps, on_grid(expected))


def test_raw_attention_equals_the_twin(model: IAViT) -> None:
    expected = twin.raw_attention(model.extractor.attention_maps(images()), PREFIX)
    maps = EXPLAINERS["raw_attention"](model, images(), TARGETS).maps
    torch.testing.assert_close(maps, on_grid(expected))


def test_rollout_equals_the_twin(model: IAViT) -> None:
    expected = twin.rollout(model.extractor.attention_maps(images()), PREFIX)
    maps = EXPLAINERS["rollout"](model, images(), TARGETS).maps
    torch.testing.assert_close(maps, on_grid(expected))


# What takes the place of the class token: both tokens; all patches, without registers.
READ = {
    "deit_small_distilled_patch16_224": (2, [0, 1]),
    "vit_medium_patch16_reg4_gap_256": (4, [4, 5, 6, 7, 8, 9]),
    "beit_base_patch16_224": (1, [1, 2, 3, 4, 5, 6]),
}


@pytest.mark.parametrize("name", READ)
def test_without_a_class_token_the_rows_of_what_the_head_reads_are_averaged(name: str) -> None:
    model, (prefix, read) = of_family(name), READ[name]
    pictures = images(size=(48, 32))
    maps = extractor_of(model).attention_maps(pictures)
    raw = EXPLAINERS["raw_attention"](model, pictures, TARGETS).maps
    torch.testing.assert_close(raw, on_grid(twin.raw_attention(maps, prefix, read)))
    rolled = EXPLAINERS["rollout"](model, pictures, TARGETS).maps
    torch.testing.assert_close(rolled, on_grid(twin.rollout(maps, prefix, read)))


def test_with_attention_pooling_explanations_start_from_the_pools_own_map() -> None:
    model = of_family("vit_base_patch16_siglip_224")
    pictures = images(size=(48, 32))
    maps, read = extractor_of(model).attention_flow(pictures)
    raw = EXPLAINERS["raw_attention"](model, pictures, TARGETS).maps
    torch.testing.assert_close(raw, on_grid(read))
    each = torch.stack([twin.rollout(maps, 0, [token]) for token in range(6)], dim=1)
    expected = (read[:, :, None] * each).sum(dim=1)
    rolled = EXPLAINERS["rollout"](model, pictures, TARGETS).maps
    torch.testing.assert_close(rolled, on_grid(expected))


def test_attention_received_equals_the_twin(model: IAViT) -> None:
    expected = mean_received(model.extractor.attention_maps(images()), PREFIX)
    maps = EXPLAINERS["attention_received"](model, images(), TARGETS).maps
    torch.testing.assert_close(maps, on_grid(expected))


@pytest.mark.parametrize("name", ["interpreter", "attention_received"])
def test_attention_received_in_either_is_a_probability_vector(model: IAViT, name: str) -> None:
    maps = EXPLAINERS[name](model, images(), TARGETS).maps
    torch.testing.assert_close(maps.sum(dim=(1, 2)), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("name", FROM_THE_MODEL)
def test_only_contributions_depend_on_the_target(model: IAViT, name: str) -> None:
    explain = EXPLAINERS[name]
    here = explain(model, images(), TARGETS).maps
    there = explain(model, images(), (TARGETS + 1) % CLASSES).maps
    assert torch.equal(here, there) is (name != "contributions")


@pytest.mark.parametrize("name", FROM_THE_MODEL)
def test_depends_on_the_image(model: IAViT, name: str) -> None:
    maps = EXPLAINERS[name](model, images(), TARGETS).maps
    others = EXPLAINERS[name](model, images(seed=2), TARGETS).maps
    assert not torch.allclose(maps, others, rtol=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_repeats_itself_from_the_same_seed(model: IAViT, name: str) -> None:
    maps = []
    for _ in range(2):
        torch.manual_seed(5)
        maps.append(EXPLAINERS[name](model, images(), TARGETS).maps)
    assert torch.equal(*maps)


def test_random_knows_neither_image_nor_target(model: IAViT) -> None:
    torch.manual_seed(5)
    maps = EXPLAINERS["random"](model, images(), TARGETS).maps
    torch.manual_seed(5)
    others = EXPLAINERS["random"](model, images(seed=2), TARGETS.flip(0)).maps
    assert torch.equal(maps, others)


def test_random_differs_between_images_and_draws(model: IAViT) -> None:
    maps = torch.cat([EXPLAINERS["random"](model, images(), TARGETS).maps for _ in range(2)])
    assert len(maps.flatten(1).unique(dim=0)) == 6
