"""The vocabulary: what flows between the parts.

Shapes everywhere: `B` images, `N` patches, `T` tokens (class and register tokens, then patches),
`D` channels, `C` classes, `H W` pixels, `h w` the patch grid (`N = h * w`, row by row).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

UNLABELLED = -1  # the label of an image that has none


@dataclass(frozen=True)
class Batch:
    """Images with what is known about them.

    images: (B, 3, H, W) float32, normalised.
    labels: (B,) int64, from 0 to C - 1; `UNLABELLED` in a set without labels.
    groups: (B,) int64 or None, the sensitive attribute of each image.
    evidence: (B, H, W) bool or None, the pixels that decide the label.
    shortcut: (B, H, W) bool or None, the pixels of a mark that gives the label away in training.
    left_out: files that could not be read and are not in the batch.
    """

    images: Tensor
    labels: Tensor
    groups: Tensor | None = None
    evidence: Tensor | None = None
    shortcut: Tensor | None = None
    left_out: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return Batch(
            self.images.to(device),
            self.labels.to(device),
            move(self.groups),
            move(self.evidence),
            move(self.shortcut),
            self.left_out,
        )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Output:
    """What one forward pass of the model says.

    logits: (B, C), the predictor's: the backbone's own pooling and head.
    interpreter_logits: (B, C), the interpreter's, from the patch tokens.
    extractor_attention: (B, N), attention that each patch receives in the feature extractor;
        (B, 0) where it was not asked for.
    interpreter_attention: (B, N), attention that each patch receives in the interpreter.
    tokens: (B, T, D), the extractor's final tokens, which the predictor reads.
    interpreter_tokens: (B, N, D'), the patch tokens that the interpreter reads.

    Both attentions are probability vectors over patches. Where the interpreter was to read the
    first B' images only, what is neither the predictor's nor `tokens` has B' rows.
    """

    logits: Tensor
    interpreter_logits: Tensor
    extractor_attention: Tensor
    interpreter_attention: Tensor
    tokens: Tensor
    interpreter_tokens: Tensor


@dataclass(frozen=True)
class Explanation:
    """How much each part of an image speaks for a class.

    maps: (B, h, w) on the patch grid, or (B, H, W) in pixels; larger is more important.
    targets: (B,) int64, the class explained.
    method: the explainer's name in `EXPLAINERS`.
    signed: True where a negative value speaks against the class.
    """

    maps: Tensor
    targets: Tensor
    method: str
    signed: bool = False
