"""The data sets by name: `DATASETS[name](config) -> Splits`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from iavit.config import Config
from iavit.data import digits
from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.types import Batch


@dataclass(frozen=True)
class InMemory:
    """Images held as bytes: pixels (n, 3, H, W) uint8, labels (n,), evidence (n, H, W) or None."""

    pixels: Tensor
    labels: Tensor
    normalisation: Normalisation
    evidence: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        """The images of these indices as one batch."""
        chosen = torch.as_tensor(indices)
        return Batch(
            images=self.normalisation.normalise(self.pixels[chosen]),
            labels=self.labels[chosen],
            evidence=None if self.evidence is None else self.evidence[chosen],
        )

    def first(self, count: int) -> InMemory:
        """The first `count` images."""
        evidence = None if self.evidence is None else self.evidence[:count]
        return replace(
            self, pixels=self.pixels[:count], labels=self.labels[:count], evidence=evidence
        )


@dataclass(frozen=True)
class Splits:
    """A data set: what to train on, what chooses a checkpoint, what is looked at once."""

    train: InMemory
    val: InMemory
    test: InMemory
    classes: tuple[str, ...]
    normalisation: Normalisation


@dataclass(frozen=True)
class Source:
    """How a data set is loaded, and what `iavit datasets` says of it."""

    load: Callable[[Config], Splits]
    images: str
    classes: int
    where: Callable[[], str]
    about: str


def _load_digits(config: Config) -> Splits:
    if config.model.img_size not in (None, digits.SIZE):
        raise UserError(f"--img-size: the scenes of digits have {digits.SIZE} pixels a side")
    normalisation = Normalisation(digits.MEAN, digits.STD)

    def split(name: digits.Split) -> InMemory:
        scenes = digits.draw_scenes(name, digits.SCENES[name], config.training.seed)
        return InMemory(scenes.images, scenes.labels, normalisation, scenes.evidence)

    return Splits(split("train"), split("val"), split("test"), digits.CLASSES, normalisation)


DATASETS: dict[str, Source] = {
    "digits": Source(
        load=_load_digits,
        images=" + ".join(f"{count:,}" for count in digits.SCENES.values()),
        classes=len(digits.CLASSES),
        where=lambda: "here (comes with the package)",
        about="real handwritten digits planted in clutter, with evidence",
    ),
}


def load_dataset(config: Config) -> Splits:
    """The data set that the settings name; `UserError` for an unknown name."""
    name = config.data.data
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, n=3) or list(DATASETS)
        raise UserError(f"--data: no data set is named '{name}'; did you mean {', '.join(near)}?")
    return DATASETS[name].load(config)
