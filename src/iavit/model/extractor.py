"""The feature extractor h: a timm vision transformer, and where its attention goes.

The transformer is timm's own module, untouched: it keeps its parameters, its names and its
`forward`. What differs is who runs the blocks: `Extractor` does, one after another, because it
also needs each block's queries and keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeAlias

import torch
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from iavit.errors import UserError
from iavit.model.attention import attention_received
from iavit.model.blocks import ATTENTIONS, BLOCKS, AttentionInputs, Position, bias_at, run_block
from iavit.model.pooling import pooling_weights, reads_without_patches
from iavit.model.stems import STEMS

Backbone: TypeAlias = VisionTransformer | Eva | Beit | VisionTransformerRelPos


@dataclass(frozen=True)
class Embedded:
    """Images where the blocks begin.

    tokens: (B, T, D), what enters the first block.
    positions: one for each block, the same for every image.
    """

    tokens: Tensor
    positions: tuple[Position, ...]


@dataclass(frozen=True)
class Recording:
    """What a forward pass goes through.

    entered: tokens (B, T, D) that enter each block. attentions: each attention layer of each
    block, one after another. tokens: final tokens (B, T, D).
    """

    entered: tuple[Tensor, ...]
    attentions: tuple[AttentionInputs, ...]
    tokens: Tensor


# What becomes of the attention received in the extractor: it is not computed, a constant, or
# something that gradient flows through.
ExtractorAttention = Literal["none", "constant", "gradient"]


@dataclass(frozen=True)
class Extracted:
    """What the extractor makes of images.

    tokens: final tokens, (B, T, D).
    attention: that each patch receives, (B', N); (B', 0) where it was not asked for.
    layers: the tokens that enter each block, then the final ones, (B', T, D) each; empty where
        they were not asked for.
    """

    tokens: Tensor
    attention: Tensor
    layers: tuple[Tensor, ...]


# Called with the tokens that enter a block, and its attention layers.
Visit = Callable[[Tensor, list[AttentionInputs]], None]


class Extractor(nn.Module):
    """Tokens of a vision transformer, and the attention that each patch receives in it.

    backbone: a timm transformer of a class in `STEMS`, of blocks in `BLOCKS`.

    Raises `UserError` for a transformer whose blocks it cannot run.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        check_supported(backbone)
        self.backbone = backbone

    @property
    def prefix(self) -> int:
        """Leading tokens that are not patches: class, distillation and register tokens."""
        return self.backbone.num_prefix_tokens

    @property
    def num_classes(self) -> int:
        """C."""
        return int(self.backbone.num_classes)

    @property
    def channels(self) -> int:
        """D, of each token."""
        return int(self.backbone.embed_dim)

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w), the patch grid."""
        height, width = self.backbone.patch_embed.grid_size
        return int(height), int(width)

    def forward(
        self,
        images: Tensor,
        *,
        first: int | None = None,
        attention: ExtractorAttention = "constant",
        layers: bool = False,
    ) -> Extracted:
        """(B, 3, H, W) images to final tokens, and what else is asked for.

        The attention is the mean over layers, heads and patch queries, without the columns of
        prefix tokens, renormalised: a probability vector over patches.

        first: B', if attention and layers are wanted of the first images only; all by default.
        attention: whether the attention received is computed, and whether with gradient.
        layers: whether the tokens of every layer are kept.
        """
        if attention == "none" and not layers:
            tokens = self.tokens(images)
            return Extracted(tokens, tokens[:first, :0, 0], ())  # no `len`: it would fix B
        received: list[Tensor] = []
        entered: list[Tensor] = []

        def visit(tokens: Tensor, attentions: list[AttentionInputs]) -> None:
            if layers:
                entered.append(tokens[:first])
            if attention == "none":
                return
            received.extend(
                attention_received(
                    inputs.queries[:first],
                    inputs.keys[:first],
                    prefix=self.prefix,
                    scale=inputs.scale,
                    bias=inputs.bias,
                    gradient=attention == "gradient",
                )
                for inputs in attentions
            )

        tokens = self._run(self.embed(images), visit)
        kept = (*entered, tokens[:first]) if layers else ()
        if attention == "none":
            return Extracted(tokens, tokens[:first, :0, 0], kept)
        mean = torch.stack(received).mean(dim=0)  # over layers, (B', N)
        return Extracted(tokens, mean / mean.sum(dim=1, keepdim=True), kept)

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to final tokens (B, T, D), nothing else computed."""
        self.check_size(images)
        tokens: Tensor = self.backbone.forward_features(images)
        return tokens

    def predict(self, tokens: Tensor) -> Tensor:
        """Final tokens (B, T, D) to the predictor's logits (B, C): the backbone's own head."""
        logits: Tensor = self.backbone.forward_head(tokens)
        return logits

    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to the predictor's logits (B, C), nothing else computed."""
        return self.predict(self.tokens(images))

    def patches(self, tokens: Tensor) -> Tensor:
        """Final tokens (B, T, D) to the normed patch tokens (B, N, D) that the interpreter reads.

        Where the backbone norms only what it has pooled, that norm is applied to each patch.
        """
        patches = tokens[:, self.prefix :]
        if isinstance(self.backbone.norm, nn.Identity):
            return self.backbone.fc_norm(patches)
        return patches

    def attention_maps(self, images: Tensor) -> list[Tensor]:
        """Every attention layer's whole map, each (B, heads, T, T): for explainers that need it.

        Costs the memory that `forward` avoids. Layers that work side by side follow each other.
        """
        return self.attention_flow(images)[0]

    def attention_flow(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """`attention_maps`, and each final token's weight in the pooling, (B, T)."""
        maps: list[Tensor] = []
        tokens = self._run(
            self.embed(images), lambda _, attentions: maps.extend(one.map() for one in attentions)
        )
        return maps, pooling_weights(self.backbone, tokens)

    def record(self, embedded: Embedded) -> Recording:
        """Run the blocks and keep everything, for explanations that take gradients on it."""
        entered: list[Tensor] = []
        attentions: list[AttentionInputs] = []

        def keep(tokens: Tensor, inputs: list[AttentionInputs]) -> None:
            entered.append(tokens)
            attentions.extend(inputs)

        tokens = self._run(embedded, keep, checkpointed=False)
        return Recording(tuple(entered), tuple(attentions), tokens)

    def embed(self, images: Tensor) -> Embedded:
        """(B, 3, H, W) images to what enters the first block: `forward` up to there."""
        self.check_size(images)
        vit = self.backbone
        tokens, positions = STEMS[type(vit)](vit, images)
        every = islice(positions, len(vit.blocks))
        return Embedded(tokens, tuple(Position(shared) for shared in every))

    def walk(self, embedded: Embedded) -> Tensor:
        """From the first block to the final tokens, (B, T, D)."""
        return self._run(embedded, lambda tokens, attentions: None)

    def only(self, embedded: Embedded, patches: Tensor) -> Embedded:
        """The sequences without the tokens of all other patches; prefix tokens stay.

        patches: (B, n) int64, from 0 to N - 1, for each image the ones that are kept: their
            position embeddings, rotations and relative position biases are those of their
            places in the image.

        Raises `UserError` where nothing would be left for the head to read.
        """
        if patches.shape[1] == 0 and not reads_without_patches(self.backbone):
            raise UserError(
                "this model reads its patches alone and cannot answer without any (drop); "
                "use a substrate such as zeros"
            )
        prefix = torch.arange(self.prefix, device=patches.device).expand(len(patches), -1)
        kept = torch.cat((prefix, patches + self.prefix), dim=1)  # (B, prefix + n)
        channels = embedded.tokens.shape[2]
        tokens = embedded.tokens.gather(1, kept[..., None].expand(-1, -1, channels))

        def at_kept(position: Position) -> Position:
            if position.shared is None:
                return Position(None, kept)
            if isinstance(self.backbone, Eva):
                return Position(_rope_at(position.shared, patches), kept)
            return Position(bias_at(position.shared, kept), kept)

        first = embedded.positions[0]  # mostly the same for all blocks
        first_at_kept = at_kept(first)
        positions = (
            first_at_kept if position.shared is first.shared else at_kept(position)
            for position in embedded.positions
        )
        return Embedded(tokens, tuple(positions))

    def _run(self, embedded: Embedded, visit: Visit, *, checkpointed: bool = True) -> Tensor:
        """timm's `forward_features` from the first block on, block by block, (B, T, D).

        checkpointed: recompute blocks in the backward pass where the backbone asks for that.
        """
        vit, tokens = self.backbone, embedded.tokens
        checkpointed = checkpointed and vit.grad_checkpointing and torch.is_grad_enabled()
        for block, position in zip(vit.blocks, embedded.positions, strict=True):
            if checkpointed:
                result = checkpoint(run_block, block, tokens, position, use_reentrant=False)
            else:
                result = run_block(block, tokens, position)
            visit(tokens, result[1])
            tokens = result[0]
        normed: Tensor = vit.norm(tokens)
        return normed

    def check_size(self, images: Tensor) -> None:
        """A map has the shape of its grid: other sizes are refused, also where timm takes any."""
        height, width = self.backbone.patch_embed.img_size
        if tuple(images.shape[-2:]) != (height, width):
            raise UserError(
                f"images of {images.shape[-2]} x {images.shape[-1]} pixels; this model reads "
                f"{height} x {width}: resize them, or build it with another img_size"
            )


def _rope_at(rope: Tensor, patches: Tensor) -> Tensor:
    """A rotary embedding (N, d) or (heads, N, d) at (B, n) patches: (B, 1 or heads, n, d)."""
    if rope.ndim == 2:
        return rope[patches][:, None]
    return rope[:, patches].transpose(0, 1)


def check_supported(backbone: Any) -> None:
    """Refuse what `Extractor` would silently compute otherwise than timm does."""
    if type(backbone) not in STEMS:
        raise UserError(
            f"a {type(backbone).__name__} is no plain sequence of patch tokens; "
            "use a timm vision transformer such as vit_small_patch16_224"
        )
    for part in backbone.blocks.modules():
        kind = type(part)
        if hasattr(part, "attn_drop") and kind not in ATTENTIONS and kind not in BLOCKS:
            raise UserError(
                f"{kind.__name__} is no softmax over all tokens that can be shown as one map; "
                "use a plain timm vision transformer such as vit_small_patch16_224"
            )
    for block in backbone.blocks:
        if type(block) not in BLOCKS:
            raise UserError(
                f"blocks of type {type(block).__name__} are not supported; "
                "use a plain timm vision transformer such as vit_small_patch16_224"
            )
    if not isinstance(getattr(backbone, "patch_drop", None), nn.Identity | None):
        raise UserError(
            "a vision transformer that drops patches has no fixed map; "
            "build it without patch_drop_rate"
        )
    if backbone.global_pool in ("", "prr"):
        raise UserError(
            f"the predictor of a vision transformer with global_pool '{backbone.global_pool}' "
            "is not supported; build it with 'token', 'avg' or 'map'"
        )
