"""The feature extractor h: any plain timm vision transformer, and where its attention goes.

The transformer is timm's own module, untouched: it keeps its parameters, its names and its
`forward`. What differs is who walks through the blocks: `Extractor` does, one after another,
because it also needs each block's queries and keys.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from timm.layers import Attention, HybridEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from iavit.errors import UserError
from iavit.model.attention import attention_received


class Extractor(nn.Module):
    """Tokens of a vision transformer, and the attention that each patch receives in it.

    backbone: a timm `VisionTransformer` of plain blocks.
    attention_gradient: whether gradient flows through the attention received (joint
        alignment); by default it is a target, and is computed without one.

    Raises `UserError` for a transformer whose blocks it cannot walk.
    """

    def __init__(self, backbone: VisionTransformer, *, attention_gradient: bool = False) -> None:
        super().__init__()
        _check(backbone)
        self.backbone = backbone
        self.attention_gradient = attention_gradient

    @property
    def prefix(self) -> int:
        """Leading tokens that are not patches: class and register tokens."""
        return self.backbone.num_prefix_tokens

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w), the patch grid."""
        height, width = self.backbone.patch_embed.grid_size
        return int(height), int(width)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) images to final tokens (B, T, D) and attention received (B, N).

        The attention is the mean over layers, heads and patch queries, without the columns of
        class and register tokens, renormalised: a probability vector over patches.
        """
        received: list[Tensor] = []

        def receive(queries: Tensor, keys: Tensor, scale: float) -> None:
            received.append(
                attention_received(
                    queries,
                    keys,
                    prefix=self.prefix,
                    scale=scale,
                    gradient=self.attention_gradient,
                )
            )

        tokens = self._walk(images, receive)
        mean = torch.stack(received).mean(dim=0)  # over layers, (B, N)
        return tokens, mean / mean.sum(dim=-1, keepdim=True)

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to final tokens (B, T, D), nothing else computed."""
        tokens: Tensor = self.backbone.forward_features(images)
        return tokens

    def predict(self, tokens: Tensor) -> Tensor:
        """Final tokens (B, T, D) to the predictor's logits (B, C): the backbone's own head."""
        logits: Tensor = self.backbone.forward_head(tokens)
        return logits

    def attention_maps(self, images: Tensor) -> list[Tensor]:
        """Every layer's whole attention map, each (B, heads, T, T): for explainers that need it.

        Costs the memory that `forward` avoids.
        """
        maps: list[Tensor] = []

        def keep(queries: Tensor, keys: Tensor, scale: float) -> None:
            maps.append((queries @ keys.transpose(-2, -1) * scale).softmax(dim=-1))

        self._walk(images, keep)
        return maps

    def _walk(self, images: Tensor, see: Callable[[Tensor, Tensor, float], None]) -> Tensor:
        """timm's `forward_features`, block by block; `see` gets each block's queries and keys."""
        vit = self.backbone
        tokens = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
        for block in vit.blocks:
            attended, queries, keys = _attend(block.attn, block.norm1(tokens))
            see(queries, keys, block.attn.scale)
            tokens = tokens + block.drop_path1(block.ls1(attended))
            tokens = tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))
        normed: Tensor = vit.norm(tokens)
        return normed


def _attend(attention: Attention, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """timm's `Attention.forward`, fused, and its queries and keys (B, heads, T, d)."""
    batch, length, _ = tokens.shape
    qkv = attention.qkv(tokens).reshape(batch, length, 3, attention.num_heads, attention.head_dim)
    queries, keys, values = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    dropout = attention.attn_drop.p if attention.training else 0.0
    context = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout)
    context = attention.norm(context.transpose(1, 2).reshape(batch, length, -1))
    return attention.proj_drop(attention.proj(context)), queries, keys


def _check(backbone: nn.Module) -> None:
    """Refuse what `_walk` would silently compute otherwise than timm does."""
    if not isinstance(backbone, VisionTransformer):
        raise UserError(
            f"a {type(backbone).__name__} has no plain sequence of patch tokens; "
            "use a timm vision transformer such as vit_small_patch16_224"
        )
    for block in backbone.blocks:
        if type(block) is not Block or type(block.attn) is not Attention:
            raise UserError(
                f"blocks of type {type(block).__name__} are not supported; "
                "use a plain timm vision transformer such as vit_small_patch16_224"
            )
        if getattr(block.attn, "gate", None) is not None:
            raise UserError("gated attention is not supported; use a plain vision transformer")
    if not isinstance(backbone.patch_drop, nn.Identity) or backbone.dynamic_img_size:
        raise UserError(
            "a backbone that drops patches or changes its grid has no fixed map; "
            "build it without patch_drop_rate and dynamic_img_size"
        )
    if not backbone.has_class_token or backbone.global_pool != "token":
        raise UserError(
            "the predictor reads the class token, and this backbone has none or pools otherwise; "
            "use one such as vit_small_patch16_224"
        )


def _convolutional_stem(width: int) -> nn.Sequential:
    """Two convolutions, 4 x 4 pixels to one patch (Xiao et al. 2021: without such a stem a
    small transformer hardly starts to learn on scenes like these).
    """
    return nn.Sequential(
        nn.Conv2d(3, width // 2, kernel_size=3, stride=2, padding=1),
        nn.BatchNorm2d(width // 2),
        nn.GELU(),
        nn.Conv2d(width // 2, width, kernel_size=3, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.GELU(),
    )


def _digits_vit(num_classes: int, img_size: int, drop_path_rate: float) -> VisionTransformer:
    vit = VisionTransformer(
        img_size=img_size,
        patch_size=1,  # of the stem's map: 4 pixels
        num_classes=num_classes,
        embed_dim=64,
        depth=2,
        num_heads=4,
        mlp_ratio=2.0,
        drop_path_rate=drop_path_rate,
        embed_layer=partial(HybridEmbed, backbone=_convolutional_stem(64)),
    )
    # Ten times timm's: places that can be told apart from the first step shorten the plateau
    # before the loss begins to fall.
    nn.init.normal_(vit.pos_embed, std=0.2)
    return vit


# Backbones of our own, beside timm's: small enough to train from nothing on two cores.
SMALL_BACKBONES: dict[str, Callable[[int, int, float], VisionTransformer]] = {
    "vit_digits": _digits_vit,
}


def create_backbone(
    name: str,
    *,
    num_classes: int,
    img_size: int | None = None,
    pretrained: bool = False,
    drop_path: float = 0.0,
) -> VisionTransformer:
    """A vision transformer by its timm name, or by a name in `SMALL_BACKBONES`.

    img_size: pixels a side; by default the one that the name stands for. Position embeddings
        of pretrained weights are resampled.
    pretrained: fetch timm's weights from the hub.

    Raises `UserError` for an unknown name (with the nearest ones), for an image size that the
    patches do not divide, and where weights cannot be fetched.
    """
    asked = "" if img_size is None else f" at --img-size {img_size}"
    if img_size is not None and img_size < 1:
        raise UserError(f"--img-size {img_size}: it must be at least 1")
    if name in SMALL_BACKBONES:
        if pretrained:
            raise UserError(f"--pretrained: there are no published weights of {name}")
        build: Callable[[], Any] = partial(
            SMALL_BACKBONES[name], num_classes, img_size or 32, drop_path
        )
    elif timm.is_model(name):
        size = {} if img_size is None else {"img_size": img_size}
        build = partial(
            timm.create_model,
            name,
            pretrained=pretrained,
            num_classes=num_classes,
            drop_path_rate=drop_path,
            **size,
        )
    else:
        known = [*SMALL_BACKBONES, *timm.list_models()]
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "see timm.list_models()"
        raise UserError(f"--backbone: no backbone is named '{name}'; {hint}")
    try:
        backbone = build()
    except OSError as error:  # the hub cannot be reached
        raise UserError(
            f"--pretrained: the weights of {name} cannot be fetched; "
            "connect to the internet once, or train without them"
        ) from error
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"--backbone {name}{asked} cannot be built: {error}") from error
    if not isinstance(backbone, VisionTransformer):
        raise UserError(
            f"--backbone {name} is no plain vision transformer; "
            "use one such as vit_small_patch16_224"
        )
    _check_patches(backbone, name)
    return backbone


def _check_patches(backbone: VisionTransformer, name: str) -> None:
    """timm cuts off what the patches do not cover; here they must cover the whole image."""
    embed = backbone.patch_embed
    for pixels, patches, side in zip(
        embed.img_size, embed.grid_size, embed.feat_ratio(as_scalar=False), strict=True
    ):
        if patches < 1 or patches * side != pixels:
            raise UserError(
                f"--img-size {pixels}: the patches of {name} are {side} pixels a side; "
                "use a multiple of that"
            )
