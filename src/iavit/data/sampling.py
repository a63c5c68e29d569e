"""Some images that stand for all: a seeded draw, spread over classes and groups."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from iavit.data.images import Images

Set = TypeVar("Set", bound=Images)
SEED = 0  # whatever the run's: models are compared on the same images


def spread(images: Images, seed: int = SEED) -> Tensor:
    """All indices, (n,) int64, in a random order that is even over classes, and groups.

    The first m have of each class in each group its share of m, but for rounding. Where the
    labels of a set are not known before its images are read (shards), the order is random.
    """
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(images))
    if images.labels is None:
        return torch.from_numpy(shuffled)
    kinds = [images.labels.numpy()]
    if images.groups is not None:
        kinds.append(images.groups.numpy())
    _, kind = np.unique(np.stack(kinds), axis=1, return_inverse=True)
    by_kind = shuffled[np.argsort(kind[shuffled], kind="stable")]
    sizes = np.bincount(kind)
    kind = kind[by_kind]
    place = np.arange(len(by_kind)) - (np.cumsum(sizes) - sizes)[kind]  # within its kind
    # The i-th of n of a kind comes at (i + a random start) / n of the whole way.
    way = (place + generator.random(len(sizes))[kind]) / sizes[kind]
    return torch.from_numpy(by_kind[np.argsort(way, kind="stable")])


def sample(images: Set, count: int | None, seed: int = SEED) -> Set:
    """`count` of the images in their order, spread over classes and groups; all for None."""
    if count is None or count >= len(images):
        return images
    return images.chosen(spread(images, seed)[:count].sort().values)
