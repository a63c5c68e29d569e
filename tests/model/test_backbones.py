"""Backbones by name, and which are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from iavit.errors import UserError
from iavit.model.backbones import (
    SMALL_BACKBONES,
    backbone_names,
    create_backbone,
    default_backbone,
)

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


@pytest.mark.parametrize(
    ("name", "stem", "depth", "heads"),
    [("vit_digits", [(32, 2), (64, 2)], 2, 4), ("vit_photos", [(24, 1), (48, 2), (96, 2)], 4, 3)],
)
def test_small_backbones_are_what_they_are(
    name: str, stem: list[tuple[int, int]], depth: int, heads: int
) -> None:
    """By channels and strides of the stem's convolutions; patches of 4 pixels of 32."""
    vit = create_backbone(name, num_classes=CLASSES)
    assert vit.patch_embed.img_size == (32, 32)
    assert vit.patch_embed.grid_size == (8, 8)
    layers = [part for part in vit.patch_embed.backbone if isinstance(part, nn.Conv2d)]
    assert [(layer.out_channels, layer.stride[0]) for layer in layers] == stem
    assert all(layer.kernel_size == (3, 3) and layer.padding == (1, 1) for layer in layers)
    assert (len(vit.blocks), vit.blocks[0].attn.num_heads) == (depth, heads)
    width = stem[-1][0]
    assert vit.embed_dim == width
    assert vit.blocks[0].mlp.fc1.out_features == 2 * width
    assert float(vit.pos_embed.detach().std()) == pytest.approx(0.2, abs=0.02)


def test_small_images_have_a_small_backbone() -> None:
    assert [default_backbone(pixels) for pixels in (28, 64, 65, 224)] == [
        "vit_photos", "vit_photos", "vit_tiny_patch16_224", "vit_tiny_patch16_224",
    ]  # fmt: skip


def test_names_are_those_of_plain_transformers() -> None:
    names = backbone_names()
    assert names[:2] == list(SMALL_BACKBONES)
    assert {"vit_small_patch16_224", "eva02_small_patch14_224"} <= set(names)
    assert not {"resnet10t", "swin_tiny_patch4_window7_224"} & set(names)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("qqqqq", None, "named 'qqqqq'; `iavit list backbones` has them"),
        ("vit_digits", (0, 32), "`img_size` 0 x 32: it must be at least 1"),
        ("vit_digits", -3, "`img_size` -3: it must be at least 1"),
        ("vit_digits", (32, 30), "`img_size` 30: the patches of vit_digits are 4 pixels a side"),
        ("vit_photos", (33, 32), "`img_size` 33: the patches of vit_photos are 4 pixels a side"),
    ],
)
def test_what_cannot_be_built_says_why(
    name: str, size: int | tuple[int, int] | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        create_backbone(name, num_classes=CLASSES, img_size=size)


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
