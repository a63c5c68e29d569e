"""Backbones by name, and which are refused."""

from __future__ import annotations

import pytest
import torch

from iavit.errors import UserError
from iavit.model.backbones import SMALL_BACKBONES, create_backbone

CLASSES = 5


@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_224", "resnet10t", "cait_xxs24_224", "mambaout_femto"]
)
def test_other_architectures_are_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*use a ViT") as refusal:
        create_backbone(name, num_classes=CLASSES, img_size=28)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("vit_tiny_patch16_225", "vit_tiny_patch16_224"), ("vit_digit", "vit_digits")],
)
def test_unknown_name_is_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"'{name}'.*{nearest}") as refusal:
        create_backbone(name, num_classes=CLASSES)
    assert "\n" not in str(refusal.value)


def test_unknown_weights_of_a_known_name_are_refused() -> None:
    with pytest.raises(UserError, match="nonsense"):
        create_backbone("vit_tiny_patch16_224.nonsense", num_classes=CLASSES, img_size=32)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("vit_tiny_patch16_224", 40),
        ("vit_tiny_patch16_224", 8),
        ("vit_tiny_patch16_224", 0),
        ("vit_digits", 30),
        ("vit_digits", 0),
    ],
)
def test_image_size_that_patches_do_not_divide_is_refused(name: str, size: int) -> None:
    with pytest.raises(UserError, match=f"`img_size` {size}") as refusal:
        create_backbone(name, num_classes=CLASSES, img_size=size)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", SMALL_BACKBONES)
def test_small_backbones_have_no_published_weights(name: str) -> None:
    with pytest.raises(UserError, match=name):
        create_backbone(name, num_classes=CLASSES, pretrained=True)


@pytest.mark.parametrize("name", ["vit_digits", "vit_tiny_patch16_224"])
def test_options_reach_the_backbone(name: str) -> None:
    vit = create_backbone(name, num_classes=CLASSES, img_size=32, drop_path=0.25)
    assert vit.head.out_features == CLASSES
    assert vit.patch_embed.img_size == (32, 32)
    assert vit.blocks[-1].drop_path1.drop_prob == 0.25


@pytest.mark.parametrize("name", ["vit_digits", "vit_tiny_patch16_224"])
def test_an_image_may_be_higher_than_wide(name: str) -> None:
    vit = create_backbone(name, num_classes=CLASSES, img_size=(48, 32))
    assert vit.patch_embed.img_size == (48, 32)
    assert vit(torch.zeros(2, 3, 48, 32)).shape == (2, CLASSES)
    with pytest.raises(UserError, match="`img_size` 40"):
        create_backbone("vit_tiny_patch16_224", num_classes=CLASSES, img_size=(48, 40))
