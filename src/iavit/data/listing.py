"""Files and what is known about them, and which of them are the same picture."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from iavit.data.decoding import shown
from iavit.errors import UserError

THREADS = 8  # that look at files: they wait for the disk more than they compute
# Files of one length are compared byte by byte if all of them together are no larger than this:
# a few seconds. Otherwise the same picture under two names is taken for two.
COMPARED_BYTES = 2**30


@dataclass(frozen=True)
class Listing:
    """Files of one split and what is known about them, nothing of it decoded.

    paths: n files. labels: (n,) int64. groups: (n,) int64 or None.
    masks: a file for each image whose non-zero pixels are its evidence, or "" for none.
    remarks: what was left out before, and why, such as "3 .txt".
    """

    paths: tuple[str, ...]
    labels: Tensor
    groups: Tensor | None = None
    masks: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def chosen(self, indices: Tensor) -> Listing:
        """The files of these indices."""
        places = indices.tolist()
        return replace(
            self,
            paths=tuple(self.paths[i] for i in places),
            labels=self.labels[indices],
            groups=None if self.groups is None else self.groups[indices],
            masks=None if self.masks is None else tuple(self.masks[i] for i in places),
        )


def listed_once(listing: Listing, classes: Sequence[str]) -> Listing:
    """Each file once, however often and by however many links it is listed.

    Raises `UserError` for a file that is listed with two labels.
    """
    first: dict[object, int] = {}
    kept: list[int] = []
    for index, (path, key) in enumerate(zip(listing.paths, _files(listing.paths), strict=True)):
        before = first.setdefault(key, index)
        if before == index:
            kept.append(index)
        elif listing.labels[before] != listing.labels[index]:
            names = (classes[int(listing.labels[place])] for place in (before, index))
            raise UserError(
                f"{shown(path)} is listed as {' and as '.join(map(shown, names))}; "
                "keep one of the two"
            )
    repeated = len(listing) - len(kept)
    if not repeated:
        return listing
    remark = f"{repeated:,} listed again (used once)"
    return replace(listing.chosen(torch.tensor(kept)), remarks=(*listing.remarks, remark))


def pictures(paths: Sequence[str]) -> Tensor:
    """(n,) int64, a number for each file; files have the same one where they are one picture.

    That is: the same file by another name, or the same bytes.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        lengths = np.array(list(pool.map(_length, paths)), dtype=np.int64)
        _, place, count = np.unique(lengths, return_inverse=True, return_counts=True)
        alike = np.flatnonzero((count[place] > 1) & (lengths > 0))
        keys: list[object] = list(_files(paths))
        if int(lengths[alike].sum()) <= COMPARED_BYTES:
            digests = pool.map(_digest, (paths[index] for index in alike.tolist()))
            for index, digest in zip(alike.tolist(), digests, strict=True):
                keys[index] = digest or keys[index]
    numbers: dict[object, int] = {}
    return torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys])


def _files(paths: Iterable[str]) -> Iterable[object]:
    """What identifies each file on this machine; its name, where there is no such file."""
    for path in paths:
        try:
            found = Path(path).stat()
            yield found.st_dev, found.st_ino
        except (OSError, ValueError):
            yield os.path.normpath(path)  # also of a name that no file can have


def _length(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return 0


def _digest(path: str) -> bytes | None:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:  # reading it as an image says what is wrong with it
        return None
