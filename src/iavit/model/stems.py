"""Where the blocks of each class of timm's transformers begin: `STEMS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn

# What enters the first block, (B, T, D), and the positions that each block is given.
Stem = tuple[Tensor, Iterator[Tensor | None]]


def _forever(position: Tensor | None) -> Iterator[Tensor | None]:
    while True:
        yield position


def _vit_stem(vit: Any, images: Tensor) -> Stem:
    return vit.norm_pre(vit._pos_embed(vit.patch_embed(images))), _forever(None)


def _eva_stem(vit: Any, images: Tensor) -> Stem:
    tokens, rope = vit._pos_embed(vit.patch_embed(images))
    each_layer = vit.rope_mixed and rope is not None
    return vit.norm_pre(tokens), iter(rope) if each_layer else _forever(rope)


def _beit_stem(vit: Any, images: Tensor) -> Stem:
    tokens = _with_class_token(vit, vit.patch_embed(images))
    if vit.pos_embed is not None:
        tokens = tokens + vit.pos_embed
    shared = None if vit.rel_pos_bias is None else vit.rel_pos_bias()[None]
    return vit.pos_drop(tokens), _forever(shared)


def _relpos_stem(vit: Any, images: Tensor) -> Stem:
    tokens = vit.patch_embed(images)
    if vit.cls_token is not None:
        tokens = _with_class_token(vit, tokens)
    shared = None if vit.shared_rel_pos is None else vit.shared_rel_pos.get_bias()
    return tokens, _forever(shared)


def _with_class_token(vit: Any, tokens: Tensor) -> Tensor:
    return torch.cat((vit.cls_token.expand(tokens.shape[0], -1, -1), tokens), dim=1)


STEMS: dict[type[nn.Module], Callable[[Any, Tensor], Stem]] = {
    VisionTransformer: _vit_stem,
    VisionTransformerDistilled: _vit_stem,
    Eva: _eva_stem,
    Beit: _beit_stem,
    VisionTransformerRelPos: _relpos_stem,
}
