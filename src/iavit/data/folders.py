"""`folder` and `dogs_vs_cats`: the class is in a file's place or name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import torch

from iavit.data.decoding import HEIF_ENDINGS, image_endings, shown
from iavit.data.downloads import HALF
from iavit.data.file_splits import SPLIT_NAMES, split_listings
from iavit.data.images import Request, Split, Splits
from iavit.data.listing import Listing
from iavit.errors import UserError
from iavit.types import UNLABELLED

PETS = ("cat", "dog")


def load_folder(request: Request) -> Splits:
    """Pictures in a subfolder for each class, with or without train, val and test above them.

    Splits that are missing are taken from the training images, class by class. Files without an
    image's ending, and what is hidden, are no part of the set. Classes are in the order of their
    names, or numbers. Pictures without any subfolder are a set without labels.

    Raises `UserError` for an empty class, a single class, and classes that training lacks.
    """
    root = _existing(request.root)
    above = {split: _split_folder(root, split) for split in SPLIT_NAMES}
    trained = above["train"] or root
    if above["train"] is None and any(above.values()):
        raise UserError(f"{shown(root)} has no folder 'train' beside its other splits; add it")
    classes = tuple(folder.name for folder in _subfolders(trained))
    if not classes and not _loose(trained):
        raise UserError(
            f"{shown(trained)} has no subfolders; put the images of each class into one of its own"
        )
    if len(classes) == 1:
        raise UserError(
            f"{shown(trained)} has one class only, {shown(classes[0])}; add a folder for another"
        )

    @cache
    def listed(folder: Path) -> Listing:
        unknown = [found.name for found in _subfolders(folder) if found.name not in classes]
        if unknown:
            raise UserError(
                f"{shown(folder)} has a class that {shown(trained)} lacks: {shown(unknown[0])}"
            )
        if not classes:
            return _unlabelled(folder)
        return _classes_below(folder, classes, complete=folder == trained)

    given = {split: partial(listed, folder) for split, folder in above.items() if folder}
    given["train"] = partial(listed, trained)
    return split_listings(given, classes, request, request.backbone_normalisation)


def load_dogs_vs_cats(request: Request) -> Splits:
    """25,000 photographs (Kaggle, 2013), as `train/cat.0.jpg` or `PetImages/Cat/0.jpg`.

    A fifth is the test set, whatever the run's seed.
    """
    root = _existing(request.root)
    found = find_dogs_vs_cats(root)
    if found is None:
        raise UserError(
            f"{shown(root)} has neither train/cat.0.jpg, ... nor PetImages/Cat/0.jpg, ...; unpack "
            "there the train.zip of https://www.kaggle.com/c/dogs-vs-cats or Microsoft's archive"
        )
    if (found / "Cat").is_dir():
        listing = _classes_below(found, ("Cat", "Dog"), complete=True)
    else:
        paths = [path for path in _pictures(found)[0] if _pet(path) in PETS]
        labels = [PETS.index(_pet(path)) for path in paths]
        if len(set(labels)) < len(PETS):
            raise UserError(f"{shown(found)} has no dog.0.jpg, ...; unpack the whole archive")
        listing = Listing(tuple(paths), torch.tensor(labels))
    return split_listings({"train": lambda: listing}, PETS, request, HALF)


def find_folder(root: Path | None) -> Path | None:
    """The folder, if it has any below it."""
    return root if root is not None and root.is_dir() and _subfolders(root) else None


def find_dogs_vs_cats(root: Path | None) -> Path | None:
    """The folder with the files of either layout, at or below `root`."""
    if root is None or not root.is_dir():
        return None
    for folder in (root / "PetImages", root):
        if (folder / "Cat").is_dir() and (folder / "Dog").is_dir():
            return folder
    for folder in (root / "train", root):
        if folder.is_dir() and any(folder.glob("cat.*.jpg")):
            return folder
    return None


def _existing(root: Path) -> Path:
    if not root.is_dir():
        raise UserError(f"`root` {shown(root)}: there is no such folder; name the one of the set")
    return root


def _split_folder(root: Path, split: Split) -> Path | None:
    names = {folder.name.lower(): folder for folder in _subfolders(root)}
    return next((names[name] for name in SPLIT_NAMES[split] if name in names), None)


def _subfolders(folder: Path) -> list[Path]:
    """By number where all names are whole numbers, else by name; what is hidden is left."""
    found = [path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)]
    return (
        sorted(found, key=lambda path: path.name)
        if not _numbered(found)
        else sorted(found, key=lambda path: (int(path.name), path.name))
    )


def _numbered(folders: Sequence[Path]) -> bool:
    return all(folder.name.isdecimal() for folder in folders)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is no part of a set: hidden, or what macOS adds to an archive."""
    return name.startswith(".") or name == "__MACOSX"


def _classes_below(folder: Path, classes: Sequence[str], *, complete: bool) -> Listing:
    """The files of each class's folder; `complete` where every class must have some."""
    paths: list[str] = []
    labels: list[int] = []
    others: Counter[str] = Counter()
    for label, name in enumerate(classes):
        found, left_out = _pictures(folder / name)
        others += left_out
        if not found and complete:
            only = f", only {_counted(left_out)}" if left_out else ""
            raise UserError(
                f"{shown(folder / name)} has no images{only}; add some or remove the folder"
            )
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise UserError(f"{shown(folder)} has no images; add some or remove the folder")
    remarks = (f"{_counted(others)} left out",) if others else ()
    if loose := _loose(folder):
        remarks = (*remarks, f"{loose:,} beside the class folders left out")
    return Listing(tuple(paths), torch.tensor(labels), remarks=remarks)


def _unlabelled(folder: Path) -> Listing:
    paths, others = _pictures(folder)
    if not paths:
        raise UserError(f"{shown(folder)} has no images; add some or remove the folder")
    remarks = (f"{_counted(others)} left out",) if others else ()
    return Listing(tuple(paths), torch.full((len(paths),), UNLABELLED), remarks=remarks)


def _loose(folder: Path) -> int:
    """How many pictures lie in a folder itself."""
    return sum(
        path.suffix.lower() in image_endings() and not is_hidden(path.name) and path.is_file()
        for path in folder.iterdir()
    )


def _pictures(folder: Path) -> tuple[list[str], Counter[str]]:
    """All files below a folder whose ending is one of an image, in the order of their names.

    Links to folders are followed, each folder once. Also how many other files there are of each
    ending; what is hidden does not count.
    """
    endings = image_endings()
    found: list[str] = []
    others: Counter[str] = Counter()
    entered = {_identity(folder)}
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [
            name
            for name in sorted(folders)
            if not is_hidden(name) and _enters(Path(place, name), entered)
        ]
        for name in sorted(names):
            ending = Path(name).suffix.lower()
            if is_hidden(name):
                continue
            if ending in endings:
                found.append(str(Path(place, name)))
            else:
                others[ending] += 1
    return found, others


def _enters(folder: Path, entered: set[tuple[int, int]]) -> bool:
    """Whether a folder is a new one; afterwards it is not."""
    identity = _identity(folder)
    new = identity not in entered
    entered.add(identity)
    return new


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _counted(others: Counter[str]) -> str:
    """How many files of which endings, the commonest three by name, and what would read them."""
    most = others.most_common(3)
    words = [f"{count:,} {shown(ending) or 'without an ending'}" for ending, count in most]
    rest = others.total() - sum(count for _, count in most)
    if any(ending in HEIF_ENDINGS for ending in others):
        words.append("pip install 'iavit[heif]' reads HEIC")
    return ", ".join(words + ([f"{rest:,} others"] if rest else []))


def _pet(path: str) -> str:
    return Path(path).name.split(".")[0].lower()
