"""`folder` and `dogs_vs_cats`: the class is in a file's place or name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import torch
from PIL import Image

from iavit.data.decoding import shown
from iavit.data.downloads import HALF
from iavit.data.images import Images, Request, Split, Splits
from iavit.data.on_disk import Listing, open_listing
from iavit.data.splitting import TEST, TEST_SEED, VALIDATION, hold_out
from iavit.data.transforms import Normalisation
from iavit.errors import UserError

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
PETS = ("cat", "dog")


def load_folder(request: Request) -> Splits:
    """Pictures in a subfolder for each class, with or without train, val and test above them.

    Splits that are missing are taken from the training images, class by class. Files without an
    image's ending, and what is hidden, are no part of the set.

    Raises `UserError` for an empty class, a single class, and classes that training lacks.
    """
    root = _existing(request.root)
    above = {split: _split_folder(root, split) for split in SPLIT_NAMES}
    trained = above["train"] or root
    if above["train"] is None and any(above.values()):
        raise UserError(f"{shown(root)} has no folder 'train' beside its other splits; add it")
    classes = tuple(folder.name for folder in _subfolders(trained))
    if not classes:
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
        paths = [path for path in _pictures(found) if _pet(path) in PETS]
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


def split_listings(
    given: Mapping[Split, Callable[[], Listing]],
    classes: Sequence[str],
    request: Request,
    normalisation: Normalisation,
    groups: tuple[str, ...] = (),
) -> Splits:
    """The splits that are given, and the others taken from the training files by seed.

    given: split to its files, called when it is needed; `train` at least.
    """
    place = str(request.root)

    @cache
    def divided() -> dict[Split, Listing]:
        """The training files as the splits that they have to serve for."""
        rest = given["train"]()
        shares: dict[Split, Listing] = {}
        if "test" not in given:
            kept, held = hold_out(rest.labels, TEST, TEST_SEED, place)
            shares["test"], rest = rest.chosen(held), rest.chosen(kept)
        if "val" not in given:
            kept, held = hold_out(rest.labels, VALIDATION, request.seed, place)
            shares["val"], rest = rest.chosen(held), rest.chosen(kept)
        return {**shares, "train": rest}

    def read(split: Split) -> Images:
        listing = given[split]() if split in given and split != "train" else divided()[split]
        return open_listing(listing, split, request, normalisation)

    return Splits(tuple(classes), normalisation, read, groups)


def _existing(root: Path) -> Path:
    if not root.is_dir():
        raise UserError(f"`root` {shown(root)}: there is no such folder; name the one of the set")
    return root


def _split_folder(root: Path, split: Split) -> Path | None:
    names = {folder.name.lower(): folder for folder in _subfolders(root)}
    return next((names[name] for name in SPLIT_NAMES[split] if name in names), None)


def _subfolders(folder: Path) -> list[Path]:
    """In the order of their names; hidden ones are left."""
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(found)


def _classes_below(folder: Path, classes: Sequence[str], *, complete: bool) -> Listing:
    """The files of each class's folder; `complete` where every class must have some."""
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = _pictures(folder / name)
        if not found and complete:
            raise UserError(f"{shown(folder / name)} has no images; add some or remove the folder")
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise UserError(f"{shown(folder)} has no images; add some or remove the folder")
    return Listing(tuple(paths), torch.tensor(labels))


def _pictures(folder: Path) -> list[str]:
    """All files below a folder whose ending is one of an image, in the order of their names."""
    endings = Image.registered_extensions()
    found: list[str] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            str(Path(place, name))
            for name in sorted(names)
            if not name.startswith(".") and Path(name).suffix.lower() in endings
        ]
    return found


def _pet(path: str) -> str:
    return Path(path).name.split(".")[0].lower()
