"""What a card says beside the evaluation: data, parent weights, resources."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from os.path import commonpath, relpath
from pathlib import Path

import timm

from iavit.config import Config
from iavit.data.datasets import load_dataset
from iavit.data.images import Images, InMemory
from iavit.data.on_disk import FromFiles
from iavit.data.shards import Shards
from iavit.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class SplitFacts:
    """A split of the data: how many images, and the SHA-256 of the list of them.

    Both say "not measured" where the data is not here to be counted.
    """

    name: str
    images: str
    sha256: str


def split_facts(config: Config | None, missing: str) -> tuple[SplitFacts, ...]:
    """The splits that a run used, as far as its data is here."""
    if config is None:
        return tuple(SplitFacts(name, missing, missing) for name in SPLITS)
    try:
        splits = load_dataset(config)
        every = {"train": splits.train, "val": splits.val, "test": splits.test}
    except UserError:
        return tuple(SplitFacts(name, missing, missing) for name in SPLITS)
    return tuple(
        SplitFacts(name, f"{len(images):,}", f"`{fingerprint(images)}`")
        for name, images in every.items()
    )


def fingerprint(images: Images) -> str:
    """A SHA-256 that is another one where an image or a label is added, missing or changed.

    Of files: their names below the folder that all share, and labels, not their content. Of
    shards: their names and how many images each holds. Of images in memory: pixels and labels.
    """
    digest = hashlib.sha256()
    if isinstance(images, InMemory):
        digest.update(images.pixels.numpy().tobytes())
        digest.update(images.labels.numpy().tobytes())
    elif isinstance(images, FromFiles):
        paths, labels = images.listing.paths, images.listing.labels.tolist()
        root = commonpath([Path(path).parent for path in paths])
        lines = sorted(
            f"{relpath(path, root)}\t{label}\n" for path, label in zip(paths, labels, strict=True)
        )
        digest.update("".join(lines).encode(errors="surrogateescape"))
    elif isinstance(images, Shards):
        pairs = zip(images.shards, images.counts, strict=True)
        digest.update("".join(f"{Path(name).name}\t{count}\n" for name, count in pairs).encode())
    else:
        raise TypeError(f"no fingerprint of {type(images).__name__}")
    return digest.hexdigest()


def parent_weights(config: Config | None, missing: str) -> str:
    """What the training started from, and under which licence."""
    if config is None:
        return missing
    if config.model.weights is not None:
        return f"the file {config.model.weights}; licence {missing}"
    if not config.model.pretrained:
        return "none: trained from nothing"
    published = timm.get_pretrained_cfg(config.model.backbone)
    licence = getattr(published, "license", None) or missing
    source = getattr(published, "hf_hub_id", None) or config.model.backbone
    return f"timm's {config.model.backbone} ({source}); licence {licence}"
