"""What every data set becomes: images by index, in three splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol, Self

import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.transforms import v2

from iavit.config import DataConfig
from iavit.data.augment import Augment, Draw, augmented
from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.types import Batch

Split = Literal["train", "val", "test"]

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZE = 224  # pixels a side, where a backbone's weights were published without a size


@dataclass(frozen=True)
class Request:
    """What a source of images needs to know: the settings of the data, and little of the model.

    options: the group Data of the settings.
    seed: of the run; it chooses the validation images where a set has none.
    size: pixels a side that are asked for; None for the set's or the backbone's own.
    backbone_size, backbone_normalisation: what the backbone's published weights were trained on.
    """

    options: DataConfig = field(default_factory=DataConfig)
    seed: int = 0
    size: int | None = None
    backbone_size: int = SIZE
    backbone_normalisation: Normalisation = IMAGENET

    @property
    def root(self) -> Path:
        """Where the set lies; `UserError` where that is not said."""
        if self.options.root is None:
            raise UserError(
                f"`root`: say where {self.options.data} lies; `iavit datasets` says how to get it"
            )
        return Path(self.options.root)

    @property
    def skip(self) -> bool:
        """Whether files that cannot be read are left out."""
        return self.options.bad_images == "skip"

    def image_size(self, default: int | None = None) -> int:
        """Pixels a side: as asked for, else the set's own `default`, else the backbone's."""
        return self.size or default or self.backbone_size


class Images(Protocol):
    """Images of one split, wherever they lie.

    labels, groups: (n,) int64, where they are known without reading an image; else None.
    evidence: None where no image of the set has any.
    left_out: files of the split that could not be read, and have no index.
    """

    @property
    def normalisation(self) -> Normalisation: ...

    @property
    def labels(self) -> Tensor | None: ...

    @property
    def groups(self) -> Tensor | None: ...

    @property
    def evidence(self) -> object | None: ...

    @property
    def left_out(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, wanted: Sequence[int] | Draw) -> Batch:
        """The images of these indices as one batch, in their order.

        A `Draw` asks for random views, where the set has an augmentation. Those carry no masks:
        the pixels are moved, and training asks for none.
        """
        ...

    def chosen(self, indices: Tensor) -> Self:
        """The images of these indices, (m,) int64, as a set of their own."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Images held as bytes.

    pixels: (n, 3, H, W) uint8. labels: (n,) int64. groups: (n,) int64 or None.
    evidence, shortcut: (n, H, W) bool or None.
    size: pixels a side that are asked for, if not those held.
    """

    pixels: Tensor
    labels: Tensor
    normalisation: Normalisation
    evidence: Tensor | None = None
    shortcut: Tensor | None = None
    groups: Tensor | None = None
    size: int | None = None
    augment: Augment | None = None
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, wanted: Sequence[int] | Draw) -> Batch:
        """The images of these indices as one batch."""
        chosen = torch.as_tensor(wanted.indices if isinstance(wanted, Draw) else wanted)
        batch = Batch(
            images=self.pixels[chosen],
            labels=self.labels[chosen],
            groups=None if self.groups is None else self.groups[chosen],
        )
        if isinstance(wanted, Draw) and self.augment is not None:
            views = augmented(batch.images, wanted.indices, self.augment, wanted.seed)
            return replace(batch, images=normalised_batch(views, self.normalisation))
        pixels = batch.images
        if self.size not in (None, pixels.shape[3]):
            bicubic = v2.InterpolationMode.BICUBIC
            pixels = v2.functional.resize(pixels, [self.size, self.size], bicubic)
        return replace(
            batch,
            images=self.normalisation.normalise(pixels),
            evidence=None if self.evidence is None else self.evidence[chosen],
            shortcut=None if self.shortcut is None else self.shortcut[chosen],
        )

    def chosen(self, indices: Tensor) -> InMemory:
        """The images of these indices, (m,) int64, as a set of their own."""

        def pick(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[indices]

        return replace(
            self,
            pixels=self.pixels[indices],
            labels=self.labels[indices],
            evidence=pick(self.evidence),
            shortcut=pick(self.shortcut),
            groups=pick(self.groups),
        )


@dataclass(frozen=True)
class Splits:
    """A data set: what to train on, what chooses a checkpoint, what is looked at once.

    A split is read when it is first asked for: who trains never opens the test images.

    classes: their names, by number; empty for a set without labels.
    read: split to its images.
    groups: names of the groups, where images have one.
    attribute: what the groups differ in.
    test_count: number of test images, where it is known without reading them.
    remarks: what was found of the files, and left out, in a few words each.
    """

    classes: tuple[str, ...]
    normalisation: Normalisation
    read: Callable[[Split], Images]
    groups: tuple[str, ...] = ()
    attribute: str = "group"
    test_count: Callable[[], int | None] = lambda: None
    remarks: Callable[[], tuple[str, ...]] = tuple

    @cached_property
    def train(self) -> Images:
        return self.read("train")

    @cached_property
    def val(self) -> Images:
        return self.read("val")

    @cached_property
    def test(self) -> Images:
        return self.read("test")


def normalised_batch(pixels: Sequence[Tensor], normalisation: Normalisation) -> Tensor:
    """(3, H, W) uint8 each, to (B, 3, H, W) float32.

    One by one, in what the processor has at hand, they take a third of the time of all at once;
    and in a loading process torch collates straight into the memory that is shared.
    """
    images: Tensor = default_collate([normalisation.normalise(image) for image in pixels])
    return images
