"""How masked copies of images are put through a model: as pixels, as tokens, or shortened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.masking.substrates import Drop, Imputation, Picture, Substrate
from iavit.model.black_box import BlackBox
from iavit.model.explainable import Predictor
from iavit.model.extractor import Embedded, Extractor


@dataclass(frozen=True)
class Copies:
    """Masked copies of some images, made when they are asked for.

    logits: rows of images (n,), and the units that a copy of each shows, (n, h, w) bool, to the
        predictor's logits (n, C).
    empty_alike: whether a copy that shows nothing is the same for all images.
    shortened: whether a copy's sequence has a token only for each unit that it shows, so that
        one call takes copies which show equally many.
    """

    logits: Callable[[Tensor, Tensor], Tensor]
    empty_alike: bool
    shortened: bool = False


def masked_copies(
    predictor: Predictor, images: Tensor, grid: Sequence[int], substrate: Substrate
) -> Copies:
    """Copies of images (B, 3, H, W) by units of a grid (h, w), on a substrate.

    Raises `UserError` for a substrate that this grid does not go with.
    """
    on_patches = tuple(grid) == predictor.grid
    if isinstance(substrate, Drop):
        if not on_patches:
            raise UserError(
                f"drop leaves out whole patches: rank them on the model's grid, "
                f"{predictor.grid[0]} x {predictor.grid[1]}"
            )
        if isinstance(predictor, BlackBox):
            raise UserError(
                "drop leaves out a transformer's tokens, and this classifier is asked about whole "
                "images; use a substrate such as zeros"
            )
        return _dropped(predictor, images)
    if isinstance(substrate, Imputation):
        return _imputed(predictor, images, substrate)
    if on_patches and isinstance(predictor, Extractor) and _each_patch_alone(predictor.backbone):
        return _as_tokens(predictor, images, substrate)
    return _as_pixels(predictor, images, substrate)


def _as_pixels(predictor: Predictor, images: Tensor, substrate: Picture) -> Copies:
    filler, alike = _filler(substrate, images)

    def logits(rows: Tensor, visible: Tensor) -> Tensor:
        behind = filler if alike else filler[rows]
        height, width = visible.shape[1:]
        sides = (height, images.shape[2] // height), (width, images.shape[3] // width)

        def split(pictures: Tensor) -> Tensor:  # (n, 3, h, rows of a unit, w, its columns)
            return pictures.unflatten(3, sides[1]).unflatten(2, sides[0])

        copies = torch.where(visible[:, None, :, None, :, None], split(images[rows]), split(behind))
        return predictor.logits(copies.flatten(4).flatten(2, 3))

    return Copies(logits, alike)


def _as_tokens(extractor: Extractor, images: Tensor, substrate: Picture) -> Copies:
    """Each patch is embedded by itself, so its embedding is chosen instead of its pixels.

    Equal to masking pixels, to rounding: what enters the first block, (B, T, D), is computed once
    of every image and of what is behind it.
    """
    filler, alike = _filler(substrate, images)
    shown, behind = extractor.embed(images), extractor.embed(filler)

    def logits(rows: Tensor, visible: Tensor) -> Tensor:
        patches = visible.flatten(1)
        chosen = nn.functional.pad(patches, (extractor.prefix, 0), value=True)[..., None]
        hidden = behind.tokens if alike else behind.tokens[rows]
        tokens = torch.where(chosen, shown.tokens[rows], hidden)  # (n, T, D)
        return extractor.predict(extractor.walk(Embedded(tokens, shown.positions)))

    return Copies(logits, alike)


def _imputed(predictor: Predictor, images: Tensor, substrate: Imputation) -> Copies:
    def logits(rows: Tensor, visible: Tensor) -> Tensor:
        height, width = visible.shape[1:]
        pixels = visible.repeat_interleave(images.shape[2] // height, dim=1)
        pixels = pixels.repeat_interleave(images.shape[3] // width, dim=2)
        return predictor.logits(substrate.fill(images[rows], pixels[:, None]))

    return Copies(logits, empty_alike=True)


def _dropped(extractor: Extractor, images: Tensor) -> Copies:
    whole = extractor.embed(images)

    def logits(rows: Tensor, visible: Tensor) -> Tensor:
        patches = visible.flatten(1).nonzero()[:, 1].view(len(rows), -1)  # (n, patches shown)
        embedded = Embedded(whole.tokens[rows], whole.positions)
        return extractor.predict(extractor.walk(extractor.only(embedded, patches)))

    return Copies(logits, empty_alike=True, shortened=True)


def _filler(substrate: Picture, images: Tensor) -> tuple[Tensor, bool]:
    """What is behind each image, (B, 3, H, W), or (1, 3, H, W) and True where it is the same."""
    filler = substrate(images)
    alike = bool((filler == filler[:1]).all())
    return (filler[:1] if alike else filler), alike


def _each_patch_alone(backbone: Any) -> bool:
    """Whether no pixel of one patch reaches the embedding of another."""
    embed = backbone.patch_embed
    if type(embed) is not PatchEmbed:
        return False
    convolution = embed.proj
    return (
        type(convolution) is nn.Conv2d
        and convolution.kernel_size == convolution.stride == embed.patch_size
        and convolution.padding == (0, 0)
        and convolution.dilation == (1, 1)
    )
