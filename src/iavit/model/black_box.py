"""A classifier of any kind: it is asked, and nothing looks inside.

In the place of the extractor stands `BlackBox`, which has answers and no tokens; in the place of
the branch a whole backbone of the interpreter's own, which sees the image and learns with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.extractor import Backbone, Extracted, Extractor, ExtractorAttention
from iavit.model.programs import Program


class BlackBox(nn.Module):
    """A classifier from images to logits, in evaluation mode for good.

    It is used as an `Extractor` is, as far as answers go: its only token is its answer.

    classifier: (B, 3, H, W) to logits (B, C), as a tensor or under the name `logits`.
    num_classes: C. img_size: (H, W), what it reads. grid: (h, w), of the patches it is explained
        by, which divides the image.
    program: the file that it came from; None where it was given in Python.
    """

    prefix = 0  # tokens that are no patches

    def __init__(
        self,
        classifier: nn.Module,
        num_classes: int,
        img_size: tuple[int, int],
        grid: tuple[int, int],
        program: Program | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.num_classes = num_classes
        self.img_size = img_size
        self.grid = grid
        self.program = program
        with suppress(NotImplementedError):  # of torch.export, whose graphs have a single mode
            classifier.eval()

    @property
    def channels(self) -> int:
        """Numbers in a patch of the image: what stands for the size of a token."""
        return 3 * self.img_size[0] * self.img_size[1] // (self.grid[0] * self.grid[1])

    @property
    def backbone(self) -> NoReturn:
        """Refused, with `UserError`: it has none."""
        raise UserError(
            "this reads the tokens or attention of a plain vision transformer, and the classifier "
            "is only asked for answers"
        )

    def train(self, mode: bool = True) -> BlackBox:
        """What it consists of stays in evaluation mode."""
        self.training = mode
        return self

    def forward(
        self,
        images: Tensor,
        *,
        first: int | None = None,
        attention: ExtractorAttention = "none",
        layers: bool = False,
    ) -> Extracted:
        """Its answer as `Extracted`, without attention; the images are its only layer."""
        tokens = self.tokens(images)
        return Extracted(tokens, tokens[:first, :0, 0], (images[:first],) if layers else ())

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to the answer as a token, (B, 1, C)."""
        return self.logits(images)[:, None]

    def predict(self, tokens: Tensor) -> Tensor:
        """(B, 1, C) to logits (B, C)."""
        return tokens[:, 0]

    def logits(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images to logits (B, C).

        Raises `UserError` where it answers anything else, and where a gradient on the images is
        asked for and none flows.
        """
        self.check_size(images)
        logits = logits_in(self.classifier(images), len(images))
        if torch.is_grad_enabled() and images.requires_grad and not logits.requires_grad:
            raise UserError("no gradient flows through this classifier from answers to images")
        return logits

    def check_size(self, images: Tensor) -> None:
        """`UserError` for images of another size than it reads."""
        height, width = self.img_size
        if tuple(images.shape[-2:]) != (height, width):
            raise UserError(
                f"images of {images.shape[-2]} x {images.shape[-1]} pixels; this classifier is "
                f"explained at {height} x {width}: resize them"
            )


class OwnBackbone(nn.Module):
    """The interpreter's branch where it has a backbone of its own: (B, N, D) patch tokens."""

    def __init__(self, vit: Backbone) -> None:
        super().__init__()
        self.extractor = Extractor(vit)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """The single layer of a `BlackBox`, images (B, 3, H, W), to patch tokens (B, N, D)."""
        (images,) = layers
        return self.extractor.patches(self.extractor.tokens(images))


def logits_in(answer: object, images: int) -> Tensor:
    """The logits (B, C) in what a classifier answers for B images.

    Raises `UserError` where there are none, or of one class alone.
    """
    found = answer.get("logits") if isinstance(answer, Mapping) else answer
    found = getattr(found, "logits", found)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != images:
        shape = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise UserError(
            f"the classifier answers {images} images with {shape}; give one that answers with "
            f"logits of shape ({images}, classes)"
        )
    check_classes(found.shape[1])
    return found


def check_classes(count: int) -> None:
    """`UserError` for a classifier of one class, whose answer is always the same."""
    if count < 2:
        raise UserError(
            "the classifier has a single logit, whose probability among all classes is always 1: "
            "give it one a class, two for yes and no"
        )
