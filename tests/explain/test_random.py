"""The baseline that knows nothing."""

from __future__ import annotations

import pytest
import torch

from iavit.explain import EXPLAINERS
from iavit.model.iavit import IAViT
from tests.explain.models import TARGETS, images, joined


@pytest.fixture(scope="module")
def model() -> IAViT:
    return joined()


def test_random_knows_neither_image_nor_target(model: IAViT) -> None:
    torch.manual_seed(5)
    maps = EXPLAINERS["random"](model, images(), TARGETS).maps
    torch.manual_seed(5)
    others = EXPLAINERS["random"](model, images(seed=2), TARGETS.flip(0)).maps
    assert torch.equal(maps, others)


def test_random_differs_between_images_and_draws(model: IAViT) -> None:
    maps = torch.cat([EXPLAINERS["random"](model, images(), TARGETS).maps for _ in range(2)])
    assert len(maps.flatten(1).unique(dim=0)) == 6
