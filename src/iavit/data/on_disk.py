"""Image files by class, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iavit.data.augment import Augment, Draw, augmentation, augmented
from iavit.data.cache import Cache, open_cache
from iavit.data.decoding import check_header, decode_file, quiet, read_image, shown
from iavit.data.images import Request, Split, normalised_batch
from iavit.data.transforms import Normalisation, central_square, to_pixels
from iavit.errors import UserError
from iavit.types import Batch

BLOCK = 10_000  # files that are queued for checking at once
THREADS = 8  # that check files: they wait for the disk more than they compute


@dataclass(frozen=True)
class Listing:
    """Files of one split and what is known about them, nothing of it opened.

    paths: n files. labels: (n,) int64. groups: (n,) int64 or None.
    masks: a file for each image whose non-black pixels are its evidence, or "" for none.
    """

    paths: tuple[str, ...]
    labels: Tensor
    groups: Tensor | None = None
    masks: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def chosen(self, indices: Tensor) -> Listing:
        """The files of these indices."""
        places = indices.tolist()
        return Listing(
            tuple(self.paths[i] for i in places),
            self.labels[indices],
            None if self.groups is None else self.groups[indices],
            None if self.masks is None else tuple(self.masks[i] for i in places),
        )


@dataclass(frozen=True)
class FromFiles:
    """Images of a listing, `size` pixels a side: the central square, or random views of a draw.

    cache: their decoded pixels: of central squares, or of whole pictures with an augmentation.
    skip: leave files out of a draw that cannot be read, and name them in the batch.
    left_out: files found unreadable before, which are not in the listing.
    """

    listing: Listing
    normalisation: Normalisation
    size: int
    augment: Augment | None = None
    cache: Cache | None = None
    places: tuple[int, ...] = ()  # in the cache
    skip: bool = False
    left_out: tuple[str, ...] = ()

    @property
    def evidence(self) -> tuple[str, ...] | None:
        return self.listing.masks

    def __len__(self) -> int:
        return len(self.listing)

    def __getitem__(self, wanted: Sequence[int] | Draw) -> Batch:
        """The images of these indices; of a draw with `skip`, those that can be read."""
        with quiet():
            if isinstance(wanted, Draw):
                return self._drawn(wanted)
            pixels = [self._square(index) for index in wanted]
            evidence = self._evidence(wanted)
        return replace(self._batch(pixels, list(wanted)), evidence=evidence)

    def first(self, count: int) -> FromFiles:
        """The first `count` images."""
        listing = self.listing.chosen(torch.arange(min(count, len(self))))
        return replace(self, listing=listing, places=self.places[:count])

    def _drawn(self, draw: Draw) -> Batch:
        pictures: dict[int, Image.Image | Tensor] = {}
        left_out: list[str] = []
        self._take(draw.indices, pictures, left_out)
        # A step needs an image: where a whole batch is unreadable, the next file stands in.
        following = (draw.indices[0] + 1 + turn for turn in range(len(self)))
        while not pictures:
            index = next(following, None)
            if index is None:
                raise UserError(f"none of the {len(self)} images can be read; check `root`")
            self._take([index % len(self)], pictures, left_out)
        if self.augment is None:
            pixels = [torch.as_tensor(picture) for picture in pictures.values()]
        else:
            pixels = augmented(pictures.values(), pictures, self.augment, draw.seed)
        return replace(self._batch(pixels, list(pictures)), left_out=tuple(left_out))

    def _take(
        self, indices: list[int], pictures: dict[int, Image.Image | Tensor], left_out: list[str]
    ) -> None:
        """Read into `pictures`, or note as left out."""
        for index in indices:
            try:
                pictures[index] = self._whole(index) if self.augment else self._square(index)
            except UserError:
                if not self.skip:
                    raise
                left_out.append(self.listing.paths[index])

    def _whole(self, index: int) -> Image.Image:
        if self.cache is not None:
            return Image.fromarray(self.cache[self.places[index]])
        return decode_file(self.listing.paths[index])

    def _square(self, index: int) -> Tensor:
        """(3, size, size) uint8."""
        if self.cache is not None:
            kept = self.cache[self.places[index]]
            return torch.from_numpy(np.array(kept)).permute(2, 0, 1).contiguous()
        return to_pixels(decode_file(self.listing.paths[index]), self.size)

    def _batch(self, pixels: list[Tensor], indices: list[int]) -> Batch:
        groups = self.listing.groups
        return Batch(
            normalised_batch(pixels, self.normalisation),
            self.listing.labels[indices],
            None if groups is None else groups[indices],
        )

    def _evidence(self, indices: Sequence[int]) -> Tensor | None:
        masks = self.listing.masks
        if masks is None:
            return None
        return torch.stack([read_mask(masks[index], self.size) for index in indices])


def read_mask(path: str, size: int) -> Tensor:
    """(size, size) bool, cropped as its image is: what is not black; nothing for ""."""
    if not path:
        return torch.zeros(size, size, dtype=torch.bool)
    inked = np.asarray(read_image(path)).max(axis=2) > 0
    square = central_square(Image.fromarray(inked))
    return torch.from_numpy(np.array(square.resize((size, size), Image.Resampling.NEAREST)) > 0)


def open_listing(
    listing: Listing, split: Split, request: Request, normalisation: Normalisation
) -> FromFiles:
    """A split's files, checked as far as it is cheap, as images.

    Of every file the header is read, so that what is no image stops a run at its start, not after
    hours. What is damaged further on shows when it is decoded. Where unreadable files are skipped,
    training then leaves it out of its batch; validation and test images, which must keep their
    indices and are decoded many times anyway, are all decoded once in advance. So is everything
    that goes into a cache.

    Raises `UserError` for an unreadable file unless they are skipped, and if none is left.
    """
    options, skip, size = request.options, request.skip, request.image_size()
    augment = augmentation(options.augment, size) if split == "train" else None
    cache = None
    if options.cache is not None:
        cache = open_cache(
            listing.paths,
            size,
            Path(options.cache),
            whole=augment is not None,
            threads=options.workers,
            skip=skip,
        )
        readable = torch.from_numpy(cache.places[:, 1] > 0)
    else:
        readable = _readable(listing.paths, skip=skip, thorough=skip and split != "train")
    kept = readable.nonzero()[:, 0]
    if not len(kept):
        raise UserError(
            f"none of the {len(listing)} {split} images can be read, such as "
            f"{shown(listing.paths[0])}; check `root`"
        )
    left_out = tuple(listing.paths[i] for i in (~readable).nonzero()[:, 0].tolist())
    return FromFiles(
        listing.chosen(kept),
        normalisation,
        size,
        augment,
        cache,
        tuple(kept.tolist()),
        skip,
        left_out,
    )


def _readable(paths: Sequence[str], *, skip: bool, thorough: bool) -> Tensor:
    """(n,) bool; without `skip`, the first unreadable file raises `UserError`."""

    def check(path: str) -> bool:
        try:
            decode_file(path) if thorough else check_header(path)
        except UserError:
            if not skip:
                raise
            return False
        return True

    with quiet(), ThreadPoolExecutor(THREADS) as pool:
        blocks = (paths[at : at + BLOCK] for at in range(0, len(paths), BLOCK))
        return torch.tensor([good for block in blocks for good in pool.map(check, block)])
