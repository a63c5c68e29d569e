"""`cifar10`, `cifar100` and `stl10`, as torchvision reads and downloads them."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100, STL10

from iavit.data.images import Images, InMemory, Request, Split, Splits
from iavit.data.splitting import split_in_memory
from iavit.data.transforms import Normalisation
from iavit.errors import UserError

T = TypeVar("T")

HALF = Normalisation()  # mean = std = 0.5, as in the authors' notebooks


def load_cifar10(request: Request) -> Splits:
    """50,000 + 10,000 photographs of 32 x 32 (Krizhevsky, 2009)."""
    return _load_cifar(request, CIFAR10, "cifar10")


def load_cifar100(request: Request) -> Splits:
    """The same in 100 classes."""
    return _load_cifar(request, CIFAR100, "cifar100")


def load_stl10(request: Request) -> Splits:
    """5,000 + 8,000 photographs of 96 x 96 (Coates et al., 2011); the unlabelled are left."""
    root, size = request.root, request.image_size()

    def opened(name: str, download: bool = False) -> STL10:
        return STL10(str(root), split=name, download=download)

    archive = "stl10_binary.tar.gz of https://cs.stanford.edu/~acoates/stl10"
    _ensure(lambda download: opened("test", download), "stl10", root, archive)

    @cache
    def part(name: str) -> InMemory:
        data = opened(name)
        pixels, labels = torch.from_numpy(data.data), torch.from_numpy(np.asarray(data.labels))
        return InMemory(pixels, labels.long(), HALF, size=size)

    classes = tuple(opened("test").classes)
    return _splits(part, classes, request, "96 pixels a side")


def find_cifar10(root: Path | None) -> Path | None:
    """The unpacked archive below `root`, if it is there."""
    return _found(root, "cifar-10-batches-py")


def find_cifar100(root: Path | None) -> Path | None:
    """The unpacked archive below `root`, if it is there."""
    return _found(root, "cifar-100-python")


def find_stl10(root: Path | None) -> Path | None:
    """The unpacked archive below `root`, if it is there."""
    return _found(root, "stl10_binary")


def fetch(download: Callable[[], T], name: str, root: Path, archive: str) -> T:
    """Download by torchvision; `UserError` that says what to put where if that fails."""
    existed = root.exists()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
            return download()
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        if not existed:  # torchvision begins with the folder
            shutil.rmtree(root, ignore_errors=True)
        reason = " ".join(str(error).split())
        raise UserError(
            f"{name} is not in {root} and cannot be downloaded ({reason}); "
            f"put {archive} there by hand"
        ) from error


def _load_cifar(request: Request, kind: type[CIFAR10], name: str) -> Splits:
    root, size = request.root, request.image_size()

    def opened(download: bool) -> object:
        return kind(str(root), train=False, download=download)

    _ensure(opened, name, root, kind.url)

    @cache
    def part(wanted: str) -> InMemory:
        data = kind(str(root), train=wanted == "train")
        pixels = torch.from_numpy(data.data).permute(0, 3, 1, 2)
        return InMemory(pixels, torch.tensor(data.targets), HALF, size=size)

    classes = tuple(kind(str(root), train=False).classes)
    return _splits(part, classes, request, "32 pixels a side")


def _splits(
    part: Callable[[str], InMemory], classes: tuple[str, ...], request: Request, remark: str
) -> Splits:
    """Of a set that comes as `train` and `test`."""

    def read(split: Split) -> Images:
        return split_in_memory(part, split, request, str(request.root))

    return Splits(classes, HALF, read, remarks=lambda: (remark,))


def _ensure(opened: Callable[[bool], object], name: str, root: Path, archive: str) -> None:
    """Download the set where it is missing or its checksums differ."""
    try:
        opened(False)
    except RuntimeError:
        fetch(lambda: opened(True), name, root, archive)


def _found(root: Path | None, folder: str) -> Path | None:
    return root / folder if root is not None and (root / folder).is_dir() else None
