"""`shards`: tar files of images and labels, read in sequence through the webdataset library.

For data sets larger than a disk or a machine: nothing is unpacked, a process holds two chunks of
a shard at a time, and every process on every machine reads shards of its own.
"""

from __future__ import annotations

import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iavit.data.augment import Augment, Draw, augmentation, augmented
from iavit.data.decoding import decode_bytes, shown
from iavit.data.images import Images, Request, Split, Splits, normalised_batch
from iavit.data.shard_index import (
    PICTURES,
    SIZES,
    Shard,
    by_split,
    damaged,
    list_shards,
    look_into,
    webdataset,
)
from iavit.data.splitting import TEST, TEST_SEED, VALIDATION, hold_out
from iavit.data.transforms import Normalisation, to_pixels
from iavit.errors import UserError
from iavit.types import Batch

CHUNK = 512  # samples that are held, and mixed with each other, at a time
# Chunks: a batch may begin in one and end in the next. Twice as many where samples of a shard are
# held out: what is left of a chunk's length then lies in up to three.
HELD = 2

Sample = dict[str, Any]  # of webdataset: `__key__`, and bytes by ending


class Shards:
    """Images of one split in tar shards, numbered shard after shard as they lie in them.

    Any order of indices is possible; one that stays in a chunk and goes on to the next, as
    `order.ShardOrder` does, reads each shard once from its beginning to its end.

    shards: paths. counts: samples of each.
    skip: leave samples out of a draw that cannot be read, and name them in the batch.
    """

    def __init__(
        self,
        shards: Sequence[str],
        counts: Sequence[int],
        classes: int,
        normalisation: Normalisation,
        size: int,
        augment: Augment | None = None,
        *,
        skip: bool = False,
    ) -> None:
        self.shards = tuple(shards)
        self.counts = tuple(counts)
        self.classes = classes
        self.normalisation = normalisation
        self.size = size
        self.augment = augment
        self.skip = skip
        self.labels = self.groups = self.evidence = None
        self.left_out: tuple[str, ...] = ()
        # Positions that have an index: all, until unreadable ones are left out.
        self.positions: Sequence[int] = range(sum(counts))
        self._begins = np.cumsum([0, *counts])
        self._chunks: OrderedDict[tuple[int, int], list[Sample]] = OrderedDict()
        self._stream: tuple[int, int, Iterator[Sample]] | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def by_shard(self) -> list[int]:
        """Number of images in each shard, those that have an index."""
        ends = np.searchsorted(np.asarray(self.positions), self._begins)
        return [int(count) for count in np.diff(ends)]

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open: another process opens its own."""
        return {**self.__dict__, "_chunks": OrderedDict(), "_stream": None}

    def __getitem__(self, wanted: Sequence[int] | Draw) -> Batch:
        """The images of these indices; of a draw with `skip`, those that can be read."""
        indices = list(wanted.indices if isinstance(wanted, Draw) else wanted)
        lenient = self.skip and isinstance(wanted, Draw)
        read: list[int] = []  # an index may come twice: a batch may begin one pass and end another
        pictures: list[Image.Image] = []
        labels: list[int] = []
        left_out: list[str] = []
        for index in indices:
            try:
                picture, label = self._picture(self.positions[index])
            except UserError:
                if not lenient:
                    raise
                left_out.append(self._name(self.positions[index]))
                continue
            read.append(index)
            pictures.append(picture)
            labels.append(label)
        if not pictures:
            raise UserError(f"none of {len(indices)} samples can be read, such as {left_out[0]}")
        if isinstance(wanted, Draw) and self.augment is not None:
            pixels = augmented(pictures, read, self.augment, wanted.seed)
        else:
            pixels = [to_pixels(picture, self.size) for picture in pictures]
        images = normalised_batch(pixels, self.normalisation)
        return Batch(images, torch.tensor(labels), left_out=tuple(left_out))

    def chosen(self, indices: Tensor) -> Shards:
        """The images of these indices, (m,) int64, as a set of their own."""
        return self.at([self.positions[index] for index in indices.tolist()])

    def readable(self) -> Shards:
        """Without the samples that cannot be decoded; decodes all of them once."""
        bad = [position for position in self.positions if not self._can_read(position)]
        if len(bad) == len(self.positions):
            raise UserError(f"{shown(self.shards[0])} and the like have no image that can be read")
        left = set(bad)
        kept = self.at([position for position in self.positions if position not in left])
        kept.left_out = (*self.left_out, *(self._name(position) for position in bad))
        return kept

    def at(self, positions: Sequence[int]) -> Shards:
        """The images at these positions of all that lie in the shards, in rising order."""
        fewer = copy(self)
        fewer.positions = positions
        return fewer

    def _can_read(self, position: int) -> bool:
        try:
            self._picture(position)
        except UserError:
            return False
        return True

    def _picture(self, position: int) -> tuple[Image.Image, int]:
        sample = self._sample(position)
        name = self._name(position)
        content = next((sample[ending] for ending in PICTURES if ending in sample), None)
        if content is None or "cls" not in sample:
            raise UserError(f"{name} needs a .cls and an image ({', '.join(PICTURES)}) each")
        picture = decode_bytes(content, name, self.normalisation.pixel_range)
        return picture, self._label(sample["cls"], name)

    def _label(self, content: bytes, name: str) -> int:
        try:
            label = int(content)
        except ValueError:
            label = -1
        if not 0 <= label < self.classes:
            raise UserError(f"{name}.cls is no class from 0 to {self.classes - 1}; write it again")
        return label

    def _name(self, position: int) -> str:
        shard, _ = self._place(position)
        return shown(f"{self.shards[shard]}/{self._sample(position)['__key__']}")

    def _place(self, position: int) -> tuple[int, int]:
        """Shard, and place in it."""
        shard = int(np.searchsorted(self._begins, position, side="right")) - 1
        return shard, position - int(self._begins[shard])

    def _sample(self, position: int) -> Sample:
        shard, place = self._place(position)
        chunk = place // CHUNK
        if (shard, chunk) not in self._chunks:
            self._chunks[shard, chunk] = self._read_chunk(shard, chunk)
            held = HELD if isinstance(self.positions, range) else 2 * HELD
            while len(self._chunks) > held:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end((shard, chunk))
        samples = self._chunks[shard, chunk]
        if place % CHUNK >= len(samples):
            path = Path(self.shards[shard])
            stated = (path.parent / SIZES).is_file()
            raise UserError(
                f"{shown(path)} has fewer samples than {SIZES} says; write it again"
                if stated
                else f"{shown(path)} was changed while it was read; start again"
            )
        return samples[place % CHUNK]

    def _read_chunk(self, shard: int, chunk: int) -> list[Sample]:
        """Go on in the open shard, or open it and pass over what comes before, undecoded."""
        if self._stream is None or self._stream[0] != shard or self._stream[1] > chunk:
            self._stream = (shard, 0, read_samples(self.shards[shard]))
        _, at, samples = self._stream
        try:
            for _ in islice(samples, (chunk - at) * CHUNK):
                pass
            read = list(islice(samples, CHUNK))
        except (OSError, tarfile.TarError, ValueError, EOFError) as error:
            raise damaged(self.shards[shard]) from error
        self._stream = (shard, chunk + 1, samples)
        return read


def load_shards(request: Request) -> Splits:
    """Tar shards of samples with the same name: an image and a class number in `.cls`.

    The root is a folder of them, or a pattern such as `/data/train-{000..146}.tar`. Their names
    say the split; one that none names is held out of the training shards: some of them whole, or,
    where they are few, samples of each. What lies in them is read from the tar headers;
    `sizes.json` (shard to count) and `classes.txt` (a name a line) beside the shards spare that.
    """
    splits = by_split(list_shards(request.root))
    if not splits["train"]:
        raise UserError(f"`root` {shown(request.root)} has no shards to train on; add train-*.tar")
    paths = [path for split in splits.values() for path in split]
    shards, classes = look_into(paths, skip=request.skip)
    looked = dict(zip(paths, shards, strict=True))
    parts = _complete({split: [looked[p] for p in splits[split]] for split in splits}, request)
    normalisation, size = request.backbone_normalisation, request.image_size()

    @cache
    def read(split: Split) -> Images:
        part, skip = parts[split], request.skip
        augment = augmentation(request.options.augment, size) if split == "train" else None
        images = Shards(
            [shard.path for shard in part.shards],
            [shard.count for shard in part.shards],
            len(classes),
            normalisation,
            size,
            augment,
            skip=skip,
        ).at(part.positions)
        if not len(images):
            raise UserError(f"{shown(part.shards[0].path)} has no samples; write it again")
        images.left_out = tuple(name for shard in part.shards for name in shard.broken)
        return images.readable() if skip and split != "train" else images

    def remarks() -> tuple[str, ...]:
        broken = sum(len(shard.broken) for shard in shards)
        lines = (f"{len(shards):,} shards",)
        return (*lines, f"{broken:,} samples without an image or a class") if broken else lines

    return Splits(
        classes,
        normalisation,
        read,
        test_count=lambda: len(parts["test"].positions),
        remarks=remarks,
    )


def find_shards(root: Path | None) -> Path | None:
    """Where the shards are, if there are any."""
    try:
        return None if root is None or not list_shards(root) else root
    except UserError:
        return None


@dataclass(frozen=True)
class _Part:
    """The samples of a split: positions in all those of its shards."""

    shards: Sequence[Shard]
    positions: Sequence[int]
    labels: np.ndarray  # of each position; 0 where they are not known

    @classmethod
    def whole(cls, shards: Sequence[Shard]) -> _Part:
        """All samples of these shards that can be used."""
        labels = np.concatenate([_labels(shard) for shard in shards] or [np.empty(0, int)])
        if (labels >= 0).all():
            return cls(shards, range(len(labels)), labels)
        positions = np.flatnonzero(labels >= 0)
        return cls(shards, positions.tolist(), labels[positions])

    def chosen(self, indices: Tensor) -> _Part:
        """The samples of these indices, from the same shards."""
        places = indices.numpy()
        positions = np.asarray(self.positions)[places].tolist()
        return _Part(self.shards, positions, self.labels[places])


def _labels(shard: Shard) -> np.ndarray:
    return np.zeros(shard.count, int) if shard.labels is None else np.array(shard.labels, int)


def _complete(given: dict[Split, list[Shard]], request: Request) -> dict[Split, _Part]:
    """The three splits; whole shards are held out where the share is one or more of them."""
    training = given["train"]
    parts: dict[Split, _Part] = {}
    inside: list[tuple[Split, float, int]] = []
    plan: tuple[tuple[Split, float, int], ...] = (
        ("test", TEST, TEST_SEED),
        ("val", VALIDATION, request.seed),
    )
    for split, share, seed in plan:
        count = round(share * len(training))
        if given[split]:
            parts[split] = _Part.whole(given[split])
        elif count:
            order = np.random.default_rng(seed).permutation(len(training))
            held = set(order[:count].tolist())
            parts[split] = _Part.whole([s for at, s in enumerate(training) if at in held])
            training = [shard for at, shard in enumerate(training) if at not in held]
        else:
            inside.append((split, share, seed))
    rest = _Part.whole(training)
    for split, share, seed in inside:
        kept, held_out = hold_out(torch.from_numpy(rest.labels), share, seed, str(request.root))
        parts[split], rest = rest.chosen(held_out), rest.chosen(kept)
    return {**parts, "train": rest}


def read_samples(shard: str) -> Iterator[Sample]:
    """The samples of a tar file, one after another, as they stand in it."""
    tar = webdataset().tariterators
    with Path(shard).open("rb") as file:  # webdataset's own opening leaves it open
        yield from tar.group_by_keys(tar.tar_file_expander([{"url": shard, "stream": file}]))
