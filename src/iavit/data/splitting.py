"""Splits that a data set does not come with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from iavit.data.augment import augmentation
from iavit.data.images import Images, InMemory, Request, Split
from iavit.errors import UserError

VALIDATION = 0.1  # of the training images, where a set has none
TEST = 0.2  # of all images, where a set has none: the 80/20 of the authors' notebooks
# Test images are divided off by a seed of their own: no model is ever tested on an image that
# a run of another seed trained on.
TEST_SEED = 0


def hold_out(
    labels: Tensor, share: float, seed: int, place: str, pictures: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Indices that are kept and that are held out, both in order, of (n,) labels.

    The share of every class is held out, of two or more images at least one and not all.
    pictures: (n,) int64, the same number for images that are one picture; those stay together,
        with the first of them.

    Raises `UserError` naming the `place` of the images if every class has a single one.
    """
    if pictures is not None and len(pictures.unique()) < len(pictures):
        _, number = np.unique(pictures.numpy(), return_inverse=True)
        first = np.full(number.max() + 1, len(labels))
        np.minimum.at(first, number, np.arange(len(labels)))
        originals = np.sort(first)
        _, held_out = hold_out(labels[torch.from_numpy(originals)], share, seed, place)
        held_pictures = number[originals[held_out.numpy()]]
        held_mask = torch.from_numpy(np.isin(number, held_pictures))
        return (~held_mask).nonzero()[:, 0], held_mask.nonzero()[:, 0]
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels.numpy()[order], kind="stable")]
    counts = np.unique(labels.numpy(), return_counts=True)[1]
    held = [
        members[: min(max(1, round(share * len(members))), len(members) - 1)]
        for members in np.split(by_class, np.cumsum(counts)[:-1])
    ]
    taken = np.sort(np.concatenate(held)) if held else np.empty(0, dtype=np.int64)
    if not len(taken):
        raise UserError(
            f"{place} has too few images to train and be tested on; "
            "bring two or more a class, not counting copies"
        )
    kept = np.setdiff1d(np.arange(len(labels)), taken)
    return torch.from_numpy(kept), torch.from_numpy(taken)


def split_in_memory(
    part: Callable[[str], InMemory], split: Split, request: Request, place: str
) -> Images:
    """A split of a set that comes as `train` and `test`: validation is taken out of training.

    part: name to all its images.
    """
    if split == "test":
        return part("test")
    pool = part("train")
    kept, held = hold_out(pool.labels, VALIDATION, request.seed, place)
    if split == "val":
        return pool.chosen(held)
    size = pool.size or pool.pixels.shape[3]
    return replace(pool.chosen(kept), augment=augmentation(request.options.augment, size))
