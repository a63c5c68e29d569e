"""Explanations read off the extractor's attention."""

from __future__ import annotations

import pytest
import torch

from iavit.explain import EXPLAINERS
from iavit.explain.attention_maps import rollout
from iavit.model.explainable import extractor_of
from iavit.model.iavit import IAViT
from tests.explain.models import PREFIX, TARGETS, images, joined, of_family, on_grid
from tests.reference import explain as twin
from tests.reference.attention import mean_received


@pytest.fixture(scope="module")
def model() -> IAViT:
    return joined()


def test_raw_attention_equals_the_twin(model: IAViT) -> None:
    expected = twin.raw_attention(extractor_of(model).attention_maps(images()), PREFIX)
    maps = EXPLAINERS["raw_attention"](model, images(), TARGETS).maps
    torch.testing.assert_close(maps, on_grid(expected))


def test_rollout_equals_the_twin(model: IAViT) -> None:
    expected = twin.rollout(extractor_of(model).attention_maps(images()), PREFIX)
    maps = EXPLAINERS["rollout"](model, images(), TARGETS).maps
    torch.testing.assert_close(maps, on_grid(expected))


def test_rollout_may_leave_the_first_layer_out(model: IAViT) -> None:
    maps = extractor_of(model).attention_maps(images())
    found = rollout(model, images(), TARGETS, first_layer=1).maps
    torch.testing.assert_close(found, on_grid(twin.rollout(maps[1:], PREFIX)))
    assert not torch.allclose(found, rollout(model, images(), TARGETS).maps)


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
    expected = mean_received(extractor_of(model).attention_maps(images()), PREFIX)
    maps = EXPLAINERS["attention_received"](model, images(), TARGETS).maps
    torch.testing.assert_close(maps, on_grid(expected))


@pytest.mark.parametrize("name", ["interpreter", "attention_received"])
def test_attention_received_in_either_is_a_probability_vector(model: IAViT, name: str) -> None:
    maps = EXPLAINERS[name](model, images(), TARGETS).maps
    torch.testing.assert_close(maps.sum(dim=(1, 2)), torch.ones(3, dtype=torch.float64))
