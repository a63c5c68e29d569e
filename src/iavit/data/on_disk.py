"""Image files by class, decoded when they are asked for."""

from __future__ import annotations

from collections import Counter
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
from iavit.data.decoding import (
    DEEP,
    Header,
    PixelRange,
    check_header,
    decode_file,
    decode_mask,
    quiet,
    shown,
)
from iavit.data.images import Request, Split, normalised_batch
from iavit.data.listing import THREADS, Listing
from iavit.data.transforms import Normalisation, central_square, to_pixels
from iavit.errors import UserError
from iavit.types import Batch

BLOCK = 10_000  # files that are queued for checking at once
MASKS = 1_000  # evidence masks that are looked at when a split is opened


@dataclass(frozen=True)
class Pixels:
    """Of readable files the shortest and the longest side, and how many have each deep mode."""

    shortest: int
    longest: int
    deep: Counter[str]


@dataclass(frozen=True)
class FromFiles:
    """Images of a listing, `size` pixels a side: the central square, or random views of a draw.

    cache: their decoded pixels: of central squares, or of whole pictures with an augmentation.
    skip: leave files out of a draw that cannot be read, and name them in the batch.
    left_out: files found unreadable before, which are not in the listing.
    pixels: what their headers say; None where they were not read.
    remarks: what was left out, and what the masks say, in a few words each.
    """

    listing: Listing
    normalisation: Normalisation
    size: int
    augment: Augment | None = None
    cache: Cache | None = None
    places: tuple[int, ...] = ()  # in the cache
    skip: bool = False
    left_out: tuple[str, ...] = ()
    pixels: Pixels | None = None
    remarks: tuple[str, ...] = ()

    @property
    def labels(self) -> Tensor:
        return self.listing.labels

    @property
    def groups(self) -> Tensor | None:
        return self.listing.groups

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

    def chosen(self, indices: Tensor) -> FromFiles:
        """The images of these indices, (m,) int64, as a set of their own."""
        places = tuple(self.places[index] for index in indices.tolist()) if self.places else ()
        return replace(self, listing=self.listing.chosen(indices), places=places)

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
        return self._decoded(index)

    def _square(self, index: int) -> Tensor:
        """(3, size, size) uint8."""
        if self.cache is not None:
            kept = self.cache[self.places[index]]
            return torch.from_numpy(np.array(kept)).permute(2, 0, 1).contiguous()
        return to_pixels(self._decoded(index), self.size)

    def _decoded(self, index: int) -> Image.Image:
        return decode_file(self.listing.paths[index], self.normalisation.pixel_range)

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
    """(size, size) bool, cropped as its image is: what is marked; nothing for ""."""
    if not path:
        return torch.zeros(size, size, dtype=torch.bool)
    square = central_square(Image.fromarray(decode_mask(path)))
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
    cache = pixels = None
    remarks: tuple[str, ...] = ()
    if options.cache is not None:
        cache = open_cache(
            listing.paths,
            size,
            Path(options.cache),
            whole=augment is not None,
            threads=options.workers,
            skip=skip,
            pixel_range=normalisation.pixel_range,
        )
        readable = torch.from_numpy(cache.places[:, 1] > 0)
    else:
        thorough = skip and split != "train"
        headers = _headers(listing.paths, skip, thorough, normalisation.pixel_range)
        readable = torch.tensor([header is not None for header in headers])
        pixels = _pixels(headers)
    kept = readable.nonzero()[:, 0]
    if not len(kept):
        raise UserError(
            f"none of the {len(listing)} {split} images can be read, such as "
            f"{shown(listing.paths[0])}; check `root`"
        )
    left_out = tuple(listing.paths[i] for i in (~readable).nonzero()[:, 0].tolist())
    if left_out:
        remarks = (f"{len(left_out):,} of {split} that cannot be read",)
    listing = listing.chosen(kept)
    return FromFiles(
        listing,
        normalisation,
        size,
        augment,
        cache,
        tuple(kept.tolist()),
        skip,
        left_out,
        pixels,
        (*remarks, *_masks(listing, split)),
    )


def _headers(
    paths: Sequence[str], skip: bool, thorough: bool, pixel_range: PixelRange | None
) -> list[Header | None]:
    """Of each file, None where it cannot be read; without `skip`, that raises `UserError`.

    thorough: decode each file to find out.
    """

    def check(path: str) -> Header | None:
        try:
            header = check_header(path)
            if thorough:
                decode_file(path, pixel_range)
        except UserError:
            if not skip:
                raise
            return None
        return header

    with quiet(), ThreadPoolExecutor(THREADS) as pool:
        blocks = (paths[at : at + BLOCK] for at in range(0, len(paths), BLOCK))
        return [header for block in blocks for header in pool.map(check, block)]


def _pixels(headers: Sequence[Header | None]) -> Pixels | None:
    found = [header for header in headers if header is not None]
    if not found:
        return None
    shortest = min(min(header[:2]) for header in found)
    longest = max(max(header[:2]) for header in found)
    return Pixels(shortest, longest, Counter(h.mode for h in found if h.mode in DEEP))


def pixel_remarks(splits: Sequence[Pixels], normalisation: Normalisation) -> tuple[str, ...]:
    """What the pixels of all splits are: the sides that pictures have, and how greys are read."""
    if not splits:
        return ()
    shortest = min(pixels.shortest for pixels in splits)
    longest = max(pixels.longest for pixels in splits)
    sides = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
    remarks = [f"{sides} pixels a side"]
    deep = sum((pixels.deep for pixels in splits), Counter[str]())
    for mode, count in sorted(deep.items()):
        black, white = normalisation.pixel_range or ((0, 1) if mode == "F" else (0, 65_535))
        remarks.append(f"{count:,} {mode} greys read from {black:g} to {white:g}")
    return tuple(remarks)


def _masks(listing: Listing, split: Split) -> tuple[str, ...]:
    """How many masks mark all of their image or nothing, where that is more than half of them."""
    named = [path for path in listing.masks or () if path][:MASKS]

    def marks(path: str) -> str:
        marked = decode_mask(path)
        return "everything" if marked.all() else "something" if marked.any() else "nothing"

    with quiet(), ThreadPoolExecutor(THREADS) as pool:
        counts = Counter(pool.map(marks, named))
    return tuple(
        f"{counts[extent]:,} of {len(named):,} {split} masks mark {extent} of their image"
        for extent in ("everything", "nothing")
        if 2 * counts[extent] > len(named)
    )
