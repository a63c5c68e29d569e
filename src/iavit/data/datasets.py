"""The data sets by name: `DATASETS[name].load(request) -> Splits`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from iavit.config import Config, DataConfig
from iavit.data import digits, downloads, embedded, folders, shards, tables
from iavit.data.decoding import parse_pixel_range
from iavit.data.images import IMAGENET, SIZE, Request, Splits
from iavit.data.transforms import Normalisation, parse_channels
from iavit.errors import UserError


@dataclass(frozen=True)
class Source:
    """How a data set is loaded, and what `iavit datasets` says of it.

    find: from a folder or file, or None where none is named, to where the set lies, if it does.
    get: how to get it, in a line.
    files: whether its images are files, which can be cached.
    """

    load: Callable[[Request], Splits]
    images: str
    classes: str
    find: Callable[[Path | None], object | None]
    get: str
    about: str
    files: bool = False


DATASETS: dict[str, Source] = {
    "digits": Source(
        load=embedded.load_digits,
        images=" + ".join(f"{count:,}" for count in digits.SCENES.values()),
        classes="10",
        find=lambda root: "with the package",
        get="comes with the package",
        about="real handwritten digits planted in clutter, with evidence",
    ),
    "fashion_mnist": Source(
        load=embedded.load_fashion_mnist,
        images="54,000 + 6,000 + 10,000",
        classes="10",
        find=embedded.find_fashion_mnist,
        get="apt install dataset-fashion-mnist, or --root FOLDER to download into",
        about="grey pictures of clothes, 28 x 28",
    ),
    "cifar10": Source(
        load=downloads.load_cifar10,
        images="45,000 + 5,000 + 10,000",
        classes="10",
        find=downloads.find_cifar10,
        get="--root FOLDER: downloaded into it",
        about="photographs, 32 x 32",
    ),
    "cifar100": Source(
        load=downloads.load_cifar100,
        images="45,000 + 5,000 + 10,000",
        classes="100",
        find=downloads.find_cifar100,
        get="--root FOLDER: downloaded into it",
        about="photographs, 32 x 32",
    ),
    "stl10": Source(
        load=downloads.load_stl10,
        images="4,500 + 500 + 8,000",
        classes="10",
        find=downloads.find_stl10,
        get="--root FOLDER: downloaded into it",
        about="photographs, 96 x 96",
    ),
    "dogs_vs_cats": Source(
        load=folders.load_dogs_vs_cats,
        images="18,000 + 2,000 + 5,000",
        classes="2",
        find=folders.find_dogs_vs_cats,
        get="unpack train.zip of kaggle.com/c/dogs-vs-cats, or PetImages, into --root",
        about="photographs of pets",
        files=True,
    ),
    "celeba": Source(
        load=tables.load_celeba,
        images="162,770 + 19,867 + 19,962",
        classes="2",
        find=tables.find_celeba,
        get="unpack mmlab.ie.cuhk.edu.hk/projects/CelebA.html into --root",
        about="faces with 40 attributes, one to predict, one that groups them",
        files=True,
    ),
    "folder": Source(
        load=folders.load_folder,
        images="yours",
        classes="yours",
        find=folders.find_folder,
        get="--root FOLDER with a subfolder a class, or train, val, test above them",
        about="any image files",
        files=True,
    ),
    "table": Source(
        load=tables.load_table,
        images="yours",
        classes="yours",
        find=tables.find_table,
        get="--root FILE.csv or .parquet: image, label and maybe group, split, mask",
        about="any image files, with groups and evidence masks",
        files=True,
    ),
    "shards": Source(
        load=shards.load_shards,
        images="yours",
        classes="yours",
        find=shards.find_shards,
        get="--root FOLDER or PATTERN of train-*.tar, val-*.tar, test-*.tar",
        about="tar shards of image and .cls, read in sequence",
    ),
}


def load_dataset(config: Config) -> Splits:
    """The data set that the settings name; nothing of its images is read yet.

    Raises `UserError` for an unknown name, an option that the set does not have, and files that
    are not there.
    """
    name = config.data.data
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS) or list(DATASETS)
        raise UserError(f"`data`: no data set is named '{name}'; did you mean {', '.join(near)}?")
    _check_options(config.data, DATASETS[name])
    return DATASETS[name].load(request(config))


def request(config: Config) -> Request:
    """What of all settings, and of the backbone that they name, concerns the images."""
    import timm  # seconds, which the names of data sets need not wait for

    try:
        published = timm.get_pretrained_cfg(config.model.backbone)
    except RuntimeError as error:  # no such tag
        raise UserError(f"`backbone` {config.model.backbone}: {error}") from error
    size, normalisation = SIZE, IMAGENET
    if published is not None:
        size = int(published.input_size[-1])
        normalisation = Normalisation(published.mean, published.std)
    data = config.data
    normalisation = Normalisation(
        parse_channels("mean", data.mean) or normalisation.mean,
        parse_channels("std", data.std) or normalisation.std,
        parse_pixel_range(data.pixel_range),
    )
    return Request(data, config.training.seed, config.model.img_size, size, normalisation)


def _check_options(data: DataConfig, source: Source) -> None:
    if data.shortcut and data.data != "digits":
        raise UserError("`shortcut`: a mark can be planted into digits only")
    if data.pixel_range is not None and source.images != "yours":
        raise UserError(f"`pixel_range`: the pictures of {data.data} have 8 bits")
    for name, value in (("mean", data.mean), ("std", data.std)):
        if value is not None and source.images != "yours":
            raise UserError(f"`{name}`: {data.data} has one of its own; leave it out")
    if data.cache is not None and not source.files:
        named = ", ".join(name for name, other in DATASETS.items() if other.files)
        raise UserError(f"`cache`: {data.data} has no image files to decode, as {named} have")
