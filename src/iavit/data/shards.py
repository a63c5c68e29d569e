"""`shards`: tar files of images and labels, read in sequence through the webdataset library.

For data sets larger than a disk or a machine: nothing is unpacked, a process holds two chunks of
a shard at a time, and every process on every machine reads shards of its own.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from copy import copy
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from iavit.data.augment import Augment, Draw, augmentation, augmented
from iavit.data.decoding import decode_bytes, shown
from iavit.data.images import Images, Request, Split, Splits, normalised_batch
from iavit.data.splitting import TEST, TEST_SEED, VALIDATION
from iavit.data.transforms import Normalisation, to_pixels
from iavit.errors import UserError
from iavit.types import Batch

CHUNK = 512  # samples that are held, and mixed with each other, at a time
HELD = 2  # chunks: a batch may begin in one and end in the next
PICTURES = ("jpg", "jpeg", "png", "webp")
SIZES, CLASSES = "sizes.json", "classes.txt"  # beside the shards; what they say is not counted

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
        self.evidence = None
        self.left_out: tuple[str, ...] = ()
        # Positions that have an index: all, until unreadable ones are left out.
        self.positions: Sequence[int] = range(sum(counts))
        self._begins = np.cumsum([0, *counts])
        self._chunks: OrderedDict[tuple[int, int], list[Sample]] = OrderedDict()
        self._stream: tuple[int, int, Iterator[Sample]] | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open: another process opens its own."""
        return {**self.__dict__, "_chunks": OrderedDict(), "_stream": None}

    def __getitem__(self, wanted: Sequence[int] | Draw) -> Batch:
        """The images of these indices; of a draw with `skip`, those that can be read."""
        indices = list(wanted.indices if isinstance(wanted, Draw) else wanted)
        lenient = self.skip and isinstance(wanted, Draw)
        pictures: dict[int, Image.Image] = {}
        labels: list[int] = []
        left_out: list[str] = []
        for index in indices:
            try:
                pictures[index], label = self._picture(self.positions[index])
                labels.append(label)
            except UserError:
                if not lenient:
                    raise
                left_out.append(self._name(self.positions[index]))
        if not pictures:
            raise UserError(f"none of {len(indices)} samples can be read, such as {left_out[0]}")
        if isinstance(wanted, Draw) and self.augment is not None:
            pixels = augmented(pictures.values(), pictures, self.augment, wanted.seed)
        else:
            pixels = [to_pixels(picture, self.size) for picture in pictures.values()]
        images = normalised_batch(pixels, self.normalisation)
        return Batch(images, torch.tensor(labels), left_out=tuple(left_out))

    def first(self, count: int) -> Shards:
        """The first `count` images."""
        return self._keeping(self.positions[:count])

    def readable(self) -> Shards:
        """Without the samples that cannot be decoded; decodes all of them once."""
        bad = [position for position in self.positions if not self._can_read(position)]
        if len(bad) == len(self.positions):
            raise UserError(f"{shown(self.shards[0])} and the like have no image that can be read")
        left = set(bad)
        kept = self._keeping([position for position in self.positions if position not in left])
        kept.left_out = tuple(self._name(position) for position in bad)
        return kept

    def _keeping(self, positions: Sequence[int]) -> Shards:
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
        return decode_bytes(content, name), self._label(sample["cls"], name)

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
            while len(self._chunks) > HELD:
                self._chunks.popitem(last=False)
        self._chunks.move_to_end((shard, chunk))
        samples = self._chunks[shard, chunk]
        if place % CHUNK >= len(samples):
            raise UserError(
                f"{shown(self.shards[shard])} has fewer samples than {SIZES} says; write it again"
            )
        return samples[place % CHUNK]

    def _read_chunk(self, shard: int, chunk: int) -> list[Sample]:
        """Go on in the open shard, or open it and pass over what comes before, undecoded."""
        if self._stream is None or self._stream[0] != shard or self._stream[1] > chunk:
            self._stream = (shard, 0, _samples(self.shards[shard]))
        _, at, samples = self._stream
        try:
            for _ in islice(samples, (chunk - at) * CHUNK):
                pass
            read = list(islice(samples, CHUNK))
        except (OSError, tarfile.TarError, ValueError, EOFError) as error:
            raise _damaged(self.shards[shard]) from error
        self._stream = (shard, chunk + 1, samples)
        return read


def load_shards(request: Request) -> Splits:
    """Tar shards of samples with the same name: an image and a class number in `.cls`.

    The root is a folder of them, or a pattern such as `/data/train-{000..146}.tar`. Their names say
    the split; with no `val-*.tar` or `test-*.tar`, whole training shards are held out.
    The samples are counted by the tar headers; `sizes.json` (shard to count) and `classes.txt`
    (a name a line) beside the shards spare that.
    """
    found = _list_shards(request.root)
    by_split: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
    for path in found:
        by_split[_split_of(path)].append(path)
    _complete(by_split, request)
    counts, classes = _describe(found)
    normalisation, size = request.backbone_normalisation, request.image_size()

    @cache
    def read(split: Split) -> Images:
        paths = by_split[split]
        skip = request.skip
        augment = augmentation(request.options.augment, size) if split == "train" else None
        images = Shards(
            paths, [counts[p] for p in paths], len(classes), normalisation, size, augment, skip=skip
        )
        if not len(images):
            raise UserError(f"{shown(paths[0])} and the like have no samples; write them again")
        return images.readable() if skip and split != "train" else images

    return Splits(classes, normalisation, read)


def find_shards(root: Path | None) -> Path | None:
    """Where the shards are, if there are any."""
    try:
        return None if root is None or not _list_shards(root) else root
    except UserError:
        return None


def _samples(shard: str) -> Iterator[Sample]:
    tar = _webdataset().tariterators
    with Path(shard).open("rb") as file:  # webdataset's own opening leaves it open
        yield from tar.group_by_keys(tar.tar_file_expander([{"url": shard, "stream": file}]))


def _webdataset() -> Any:
    try:
        import webdataset
    except ImportError as error:
        raise UserError(
            "reading shards needs the webdataset library; pip install 'iavit[shards]'"
        ) from error
    return webdataset


def _list_shards(root: Path) -> list[str]:
    """The files of a folder or of a pattern, in order; `UserError` where there are none."""
    if root.is_dir():
        found = sorted(str(path) for path in root.glob("*.tar"))
    else:
        found = list(_webdataset().shardlists.expand_urls(str(root)))
    missing = next((path for path in found if not Path(path).is_file()), None)
    if missing is not None or not found:
        raise UserError(
            f"`root` {shown(missing or root)}: there are no such shards; name a folder of .tar "
            "files or a pattern such as /data/train-{000..146}.tar"
        )
    return found


def _split_of(path: str) -> Split:
    name = re.match(r"(val|test)", Path(path).name.lower())
    return "train" if name is None else "val" if name[1] == "val" else "test"


def _complete(by_split: dict[Split, list[str]], request: Request) -> None:
    """Hold out whole training shards for the splits that have none."""
    plan: tuple[tuple[Split, float, int], ...] = (
        ("test", TEST, TEST_SEED),
        ("val", VALIDATION, request.seed),
    )
    for split, share, seed in plan:
        if by_split[split]:
            continue
        pool = by_split["train"]
        if len(pool) < 2:
            raise UserError(
                f"`root` {shown(request.root)} has too few shards to hold one out; "
                f"add {split}-*.tar"
            )
        order = np.random.default_rng(seed).permutation(len(pool))
        held = set(order[: max(1, round(share * len(pool)))].tolist())
        by_split[split] = [path for at, path in enumerate(pool) if at in held]
        by_split["train"] = [path for at, path in enumerate(pool) if at not in held]
    if not by_split["train"]:
        raise UserError(f"`root` {shown(request.root)} has no shards to train on; add train-*.tar")


def _describe(shards: Sequence[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Samples of each shard, and the names of the classes."""
    folder = Path(shards[0]).parent
    sizes, named = folder / SIZES, folder / CLASSES
    try:
        stated = json.loads(sizes.read_text(encoding="utf-8")) if sizes.is_file() else {}
        names = named.read_text(encoding="utf-8").splitlines() if named.is_file() else []
        counts = {
            path: int(stated[Path(path).name]) for path in shards if Path(path).name in stated
        }
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{shown(sizes)} or {CLASSES} is damaged; write it again") from error
    largest = -1
    for path in shards:
        if path not in counts or not names:
            counts[path], found = _count(path)
            largest = max(largest, found)
    classes = tuple(names) or tuple(str(number) for number in range(largest + 1))
    if len(classes) < 2:
        raise UserError(f"{shown(folder)}: the shards have one class only; add another")
    return counts, classes


def _count(shard: str) -> tuple[int, int]:
    """Samples of a shard and its largest class, by headers and `.cls` alone."""
    number, largest = 0, -1
    try:
        with tarfile.open(shard, "r:") as file:
            for member in file:
                if member.isfile() and member.name.endswith(".cls"):
                    content = file.extractfile(member)
                    assert content is not None
                    number, largest = number + 1, max(largest, int(content.read()))
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        raise _damaged(shard) from error
    return number, largest


def _damaged(shard: str) -> UserError:
    return UserError(f"{shown(shard)} is no tar shard with whole numbers in .cls; write it again")
