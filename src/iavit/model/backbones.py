"""Backbones by name: timm's vision transformers, and small ones of our own."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_type_hints

import timm
from timm.layers import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from iavit.errors import UserError
from iavit.model.extractor import Backbone
from iavit.model.hub import cached_unless_reachable
from iavit.model.stems import STEMS

ImageSize = int | Sequence[int]  # pixels a side, or (height, width)


def _convolutional_stem(widths: Sequence[int]) -> nn.Sequential:
    """3 x 3 convolutions to so many channels, the last two with stride 2: 4 x 4 pixels a patch.

    Xiao et al. 2021: without such a stem a small transformer hardly starts to learn.
    """
    layers: list[nn.Module] = []
    before = 3
    for number, width in enumerate(widths):
        stride = 2 if number >= len(widths) - 2 else 1
        convolution = nn.Conv2d(before, width, kernel_size=3, stride=stride, padding=1)
        layers += [convolution, nn.BatchNorm2d(width), nn.GELU()]
        before = width
    return nn.Sequential(*layers)


def _small_vit(
    stem: Sequence[int],
    depth: int,
    heads: int,
    num_classes: int,
    img_size: ImageSize,
    drop_path_rate: float,
) -> VisionTransformer:
    vit = VisionTransformer(
        img_size=img_size,
        patch_size=1,  # of the stem's map: 4 pixels
        num_classes=num_classes,
        embed_dim=stem[-1],
        depth=depth,
        num_heads=heads,
        mlp_ratio=2.0,
        drop_path_rate=drop_path_rate,
        embed_layer=partial(HybridEmbed, backbone=_convolutional_stem(stem)),
    )
    # Ten times timm's: places that differ from the first step on shorten the plateau
    # before the loss begins to fall.
    nn.init.normal_(vit.pos_embed, std=0.2)
    return vit


# Backbones of our own, beside timm's: small enough to train from nothing on two cores.
SMALL_BACKBONES: dict[str, Callable[[int, ImageSize, float], VisionTransformer]] = {
    "vit_digits": partial(_small_vit, (32, 64), 2, 4),
    "vit_photos": partial(_small_vit, (24, 48, 96), 4, 3),  # photographs of 32 pixels
}


PATCH = 4  # pixels a side of their patches: two convolutions of stride 2
PHOTOS = 64  # pixels a side up to which patches of 4 pixels are few enough


def default_backbone(pixels: int) -> str:
    """A small one for images of so many pixels a side, to be trained from nothing."""
    return "vit_photos" if pixels <= PHOTOS else "vit_tiny_patch16_224"


def create_backbone(
    name: str,
    *,
    num_classes: int,
    img_size: ImageSize | None = None,
    pretrained: bool = False,
    drop_path: float = 0.0,
) -> Backbone:
    """A vision transformer by its timm name, or by a name in `SMALL_BACKBONES`.

    img_size: pixels a side, or (height, width); by default the one that the name stands for.
        Position embeddings of pretrained weights are resampled.
    pretrained: fetch timm's weights from the hub.

    Raises `UserError` for an unknown name (with the nearest ones), for an architecture without
    a plain sequence of patch tokens, for an image size that the patches do not divide, and
    where weights cannot be fetched.
    """
    size = _pair(img_size)
    if name in SMALL_BACKBONES:
        if pretrained:
            raise UserError(f"`pretrained`: there are no published weights of {name}")
        build: Callable[[], Any] = partial(
            SMALL_BACKBONES[name], num_classes, size or 32, drop_path
        )
    elif timm.is_model(name):
        _check_architecture(name)
        build = partial(
            timm.create_model,
            name,
            pretrained=pretrained,
            num_classes=num_classes,
            drop_path_rate=drop_path,
            **({} if size is None else {"img_size": size}),
        )
    else:
        near = difflib.get_close_matches(name, backbone_names())
        hint = f"did you mean {', '.join(near)}?" if near else "`iavit list backbones` has them"
        raise UserError(f"`backbone`: no backbone is named '{name}'; {hint}")
    backbone = _build(build, name, size, pretrained)
    _check_patches(backbone, name)
    return backbone


def backbone_names() -> list[str]:
    """Names that `create_backbone` takes."""
    return [*SMALL_BACKBONES, *(name for name in timm.list_models() if _kind(name) in STEMS)]


def _kind(name: str) -> object:
    """The class that timm builds by a name; None where it does not say."""
    try:
        return get_type_hints(timm.model_entrypoint(name)).get("return")
    except NameError:  # an annotation that names what timm did not import
        return None


def _build(
    build: Callable[[], Any], name: str, size: tuple[int, int] | None, pretrained: bool
) -> Any:
    try:
        if not pretrained:
            return build()
        with cached_unless_reachable():
            return build()
    except OSError as error:  # the hub cannot be reached
        raise UserError(
            f"`pretrained`: the weights of {name} cannot be fetched; connect to the internet "
            "once, give a file of them with `weights`, or train without"
        ) from error
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        asked = "" if size is None else f" at `img_size` {_in_words(size)}"
        reason = " ".join(str(error).split())
        raise UserError(f"`backbone` {name}{asked} cannot be built: {reason}") from error


def _pair(img_size: ImageSize | None) -> tuple[int, int] | None:
    if img_size is None:
        return None
    height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
    if min(height, width) < 1:
        raise UserError(f"`img_size` {_in_words((height, width))}: it must be at least 1")
    return height, width


def _in_words(size: tuple[int, int]) -> str:
    height, width = size
    return str(height) if height == width else f"{height} x {width}"


def _check_architecture(name: str) -> None:
    """Refuse what is no plain vision transformer before it is built, or its weights fetched."""
    built = _kind(name)
    if built not in STEMS:
        kind = f"a {built.__name__}" if isinstance(built, type) else "no vision transformer"
        raise UserError(
            f"`backbone` {name} is {kind}, which does not keep one sequence of patch tokens with "
            "attention among all of them; use a ViT, DeiT, DINOv2, CLIP, SigLIP, EVA-02 or BEiT "
            "such as vit_small_patch16_224"
        )


def _check_patches(backbone: Backbone, name: str) -> None:
    """timm cuts off what the patches do not cover; here they must cover the whole image."""
    embed = backbone.patch_embed
    # What timm says of a stem of our own is of an image that it divides.
    sides = (PATCH, PATCH) if name in SMALL_BACKBONES else embed.feat_ratio(as_scalar=False)
    for pixels, patches, side in zip(embed.img_size, embed.grid_size, sides, strict=True):
        if patches < 1 or patches * side != pixels:
            raise UserError(
                f"`img_size` {pixels}: the patches of {name} are {side} pixels a side; "
                "use a multiple of that"
            )
