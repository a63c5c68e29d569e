"""What explainers share: a batch part by part, a walk through the blocks, the target's logit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from iavit.model.blocks import Seen, walk_block
from iavit.model.extractor import Extractor

# Tokens that an explainer with gradients holds the activations of at a time: 41 images of 224
# pixels in patches of 16, about 2 GiB with a small transformer. It bounds the memory whatever
# the number of images.
TOKENS = 2**13


def images_at_once(extractor: Extractor) -> int:
    """How many images together have `TOKENS` tokens; at least one."""
    height, width = extractor.grid
    return max(1, TOKENS // (extractor.prefix + height * width))


def in_parts(
    extractor: Extractor,
    images: Tensor,
    targets: Tensor,
    explain: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """`explain(images, targets)` with gradients on, for as many images as memory is meant for.

    `images` of a part is a leaf that requires a gradient. Nothing is left of gradients in what
    is returned, whatever the caller switched off or on.
    """
    maps = []
    size = images_at_once(extractor)
    for part, chosen in zip(images.split(size), targets.split(size), strict=True):
        with torch.inference_mode(False), torch.enable_grad():
            leaf = part.detach().clone().requires_grad_()
            maps.append(explain(leaf, chosen.clone()).detach())
    return torch.cat(maps)


class Walk(NamedTuple):
    """A forward pass with what lies on its way.

    entered: tokens (B, T, D) entering each block. seen: each block's attention layers, one after
    another. tokens: final tokens (B, T, D). logits: (B, C).
    """

    entered: list[Tensor]
    seen: list[Seen]
    tokens: Tensor
    logits: Tensor


def walk(extractor: Extractor, images: Tensor) -> Walk:
    """A forward pass whose graph begins at the tokens that enter the first block."""
    vit = extractor.backbone
    with torch.no_grad():
        embedded = extractor.embed(images)
    tokens = embedded.tokens.detach().clone().requires_grad_()
    entered: list[Tensor] = []
    every: list[Seen] = []
    for block, position in zip(vit.blocks, embedded.positions, strict=True):
        entered.append(tokens)
        tokens, seen = walk_block(block, tokens, position)
        every.extend(seen)
    tokens = vit.norm(tokens)
    return Walk(entered, every, tokens, extractor.predict(tokens))


def of_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, C) logits to those of the targets, (B,)."""
    return logits.gather(1, targets[:, None])[:, 0]


def on_grid(extractor: Extractor, over_tokens: Tensor) -> Tensor:
    """(B, T) over all tokens to (B, h, w) over patches."""
    return over_tokens[:, extractor.prefix :].unflatten(1, extractor.grid)
