"""What explainers with gradients share: chunks of a batch, a recorded pass, the target's logit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from iavit.model.explainable import Predictor
from iavit.model.extractor import Extractor, Recording

# Tokens that an explainer with gradients holds the activations of at a time: 41 images of 224
# pixels in patches of 16, about 2 GiB with a small transformer. It bounds the memory whatever
# the number of images.
TOKENS = 2**13


def images_at_once(predictor: Predictor) -> int:
    """How many images together have `TOKENS` tokens; at least one."""
    height, width = predictor.grid
    return max(1, TOKENS // (predictor.prefix + height * width))


def in_chunks(
    predictor: Predictor,
    images: Tensor,
    targets: Tensor,
    explain: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """`explain(images, targets)` with gradients on, for as many images as memory is meant for.

    `images` of a chunk is a leaf that requires a gradient. Nothing is left of gradients in what
    is returned, whatever the caller switched off or on.
    """
    maps = []
    size = images_at_once(predictor)
    for chunk, chosen in zip(images.split(size), targets.split(size), strict=True):
        with torch.inference_mode(False), torch.enable_grad():
            leaf = chunk.detach().clone().requires_grad_()
            maps.append(explain(leaf, chosen.clone()).detach())
    return torch.cat(maps)


def record(extractor: Extractor, images: Tensor) -> tuple[Recording, Tensor]:
    """A recorded forward pass and its logits (B, C); its graph begins at the first block."""
    with torch.no_grad():
        embedded = extractor.embed(images)
    tokens = embedded.tokens.clone().requires_grad_()
    recording = extractor.record(replace(embedded, tokens=tokens))
    return recording, extractor.predict(recording.tokens)


def target_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, C) logits to those of the targets, (B,)."""
    return logits.gather(1, targets[:, None])[:, 0]


def on_grid(extractor: Extractor, over_tokens: Tensor) -> Tensor:
    """(B, T) over all tokens to (B, h, w) over patches."""
    return over_tokens[:, extractor.prefix :].unflatten(1, extractor.grid)
