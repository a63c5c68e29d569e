"""`digits`, which comes with the package, and `fashion_mnist`, which Debian packages."""

from __future__ import annotations

import gzip
import math
import sys
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iavit.data import digits
from iavit.data.augment import augmentation
from iavit.data.downloads import fetch
from iavit.data.images import Images, InMemory, Request, Split, Splits
from iavit.data.splitting import split_in_memory
from iavit.data.transforms import Normalisation
from iavit.errors import UserError

FASHION_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
FASHION_NORMALISATION = Normalisation((0.286, 0.286, 0.286), (0.353, 0.353, 0.353))
FASHION_SIZE = 28
PARTS: dict[str, str] = {"train": "train", "test": "t10k"}  # how the idx files name them
# After magic's two zero bytes: unsigned bytes, dimensions.
IMAGES_MAGIC, LABELS_MAGIC = (8, 3), (8, 1)
IDX_LIMIT = 2**29  # bytes of an idx file: ten times what the real ones have


def load_digits(request: Request) -> Splits:
    """Scenes drawn from the run's seed; `UserError` for another size or a rate that is none."""
    if request.size not in (None, digits.SIZE):
        raise UserError(f"`img_size`: the scenes of digits have {digits.SIZE} pixels a side")
    rate = request.options.shortcut
    if not 0 <= rate <= 1:
        raise UserError(f"`shortcut` is {rate}; it must be from 0 to 1")
    normalisation = Normalisation(digits.MEAN, digits.STD)

    def read(split: Split) -> Images:
        scenes = digits.draw_scenes(split, digits.SCENES[split], request.seed, rate)
        return InMemory(
            scenes.images,
            scenes.labels,
            normalisation,
            scenes.evidence,
            scenes.shortcut,
            scenes.colours,
            augment=augmentation(request.options.augment, digits.SIZE)
            if split == "train"
            else None,
        )

    return Splits(
        digits.CLASSES,
        normalisation,
        read,
        tuple(digits.COLOURS) if rate else (),
        "mark colour",
        test_count=lambda: digits.SCENES["test"],
        remarks=lambda: (f"{digits.SIZE} pixels a side",),
    )


def find_fashion_mnist(root: Path | None) -> Path | None:
    """The folder of the idx files: below `root`, or of Debian's package where none is named."""
    packaged = (Path(prefix) / "share/datasets/fashion-mnist" for prefix in (sys.prefix, "/usr"))
    folders = packaged if root is None else (root, root / "FashionMNIST" / "raw")
    return next((folder for folder in folders if _idx_file(folder, "train-images-idx3")), None)


def load_fashion_mnist(request: Request) -> Splits:
    """60,000 + 10,000 pictures of clothes (Xiao et al., 2017), downloaded where missing."""
    root = None if request.options.root is None else request.root
    folder = find_fashion_mnist(root)
    if folder is None:
        folder = _fetch_fashion_mnist(root)
    size = request.image_size(FASHION_SIZE)

    @cache
    def part(name: str) -> InMemory:
        pixels = _read_idx(folder, f"{PARTS[name]}-images-idx3", IMAGES_MAGIC)
        labels = _read_idx(folder, f"{PARTS[name]}-labels-idx1", LABELS_MAGIC).long()
        if len(pixels) != len(labels) or int(labels.max()) >= len(FASHION_CLASSES):
            raise UserError(f"{folder} has images and labels that do not match; fetch them again")
        grey = pixels[:, None].expand(-1, 3, -1, -1)
        return InMemory(grey, labels, FASHION_NORMALISATION, size=size)

    def read(split: Split) -> Images:
        return split_in_memory(part, split, request, str(folder))

    remarks = (f"{FASHION_SIZE} pixels a side",)
    return Splits(FASHION_CLASSES, FASHION_NORMALISATION, read, remarks=lambda: remarks)


def _fetch_fashion_mnist(root: Path | None) -> Path:
    from torchvision.datasets import FashionMNIST

    if root is None:
        raise UserError(
            "fashion_mnist is not here: install Debian's package dataset-fashion-mnist, "
            "or name as `root` the folder of its idx files, or one to download them into"
        )
    fetch(
        lambda: FashionMNIST(str(root), download=True),
        "fashion_mnist",
        root,
        "the four idx .gz files of https://github.com/zalandoresearch/fashion-mnist",
    )
    return root / "FashionMNIST" / "raw"


def _idx_file(folder: Path, name: str) -> Path | None:
    candidates = (folder / f"{name}-ubyte{suffix}" for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_idx(folder: Path, name: str, magic: tuple[int, int]) -> Tensor:
    """An idx file as a uint8 tensor; `UserError` where it is missing or damaged."""
    path = _idx_file(folder, name)
    if path is None:
        raise UserError(f"{folder}/{name}-ubyte(.gz) is missing; put it there")
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as file:
            if tuple(file.read(4)) != (0, 0, *magic):
                raise ValueError("it is no idx file of bytes")
            shape = tuple(np.frombuffer(file.read(4 * magic[1]), dtype=">u4").tolist())
            count = math.prod(shape)
            if len(shape) != magic[1] or count > IDX_LIMIT:
                raise ValueError(f"it claims {count:,} bytes, and at most {IDX_LIMIT:,} are read")
            content: bytes = file.read(count + 1)  # not what a small archive may expand to
        values = np.frombuffer(content, dtype=np.uint8).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); fetch it again") from error
    return torch.from_numpy(values.copy())
