"""Decode once: image files as resized bytes in one memory-mapped array.

A file's decoded pixels are kept at the size that training needs and no larger. For images that
are shown as they are, that is the very picture the model is given, so that a cache changes
nothing. For images of which random crops are taken, it is the whole picture, its shorter side
`MARGIN` times the training size: small crops are a little less sharp than from the file.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from iavit.data.decoding import PixelRange, check_header, decode_file, quiet, read_image
from iavit.data.transforms import central_square
from iavit.errors import UserError
from iavit.files import write

MARGIN = 8 / 7  # 256 for 224
JOB = 64  # files a thread takes at once
FORMAT = 2  # goes into the key: raise it when the bytes of a cache would be others


@dataclass(frozen=True)
class Cache:
    """pixels: (bytes,) uint8, all pictures one after another, each (h, w, 3).

    places: (n, 3) int64: where picture i begins, its height and width; 0 x 0 where its file
    could not be read.
    """

    pixels: np.ndarray
    places: np.ndarray

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture `index`, (h, w, 3) uint8."""
        begin, height, width = (int(value) for value in self.places[index])
        return self.pixels[begin : begin + 3 * height * width].reshape(height, width, 3)


def open_cache(
    paths: Sequence[str],
    size: int,
    folder: Path,
    *,
    whole: bool,
    threads: int,
    skip: bool,
    pixel_range: PixelRange | None = None,
) -> Cache:
    """The cache of these files, made now if it is not there.

    Made anew when a file, its time of change, its length, or the size asked for is another.
    Written to a temporary name first: what has its name is complete.

    whole: keep whole pictures with a margin, for random crops; else the central square.
    skip: leave files out that cannot be read; else the first one raises `UserError`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_key(paths, size, whole, pixel_range)}.npy"
        described = path.with_suffix(".places.npy")
        if not path.is_file() or not described.is_file():
            work = _Work(paths, size, whole, skip, pixel_range)
            _build(work, path, described, threads)
        cache = Cache(np.load(path, mmap_mode="r"), np.load(described))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"`cache` {folder} cannot be used ({reason}); choose another") from error
    unreadable = np.flatnonzero(cache.places[:, 1] == 0)
    if len(unreadable) and not skip:  # it was made with others left out
        read_image(paths[unreadable[0]], pixel_range)
    return cache


def _key(paths: Sequence[str], size: int, whole: bool, pixel_range: PixelRange | None) -> str:
    settings = (FORMAT, size, whole, MARGIN, pixel_range)
    digest = hashlib.sha256(repr(settings).encode())
    for path in paths:
        try:
            found = Path(path).stat()
            state = (found.st_mtime_ns, found.st_size)
        except (OSError, ValueError):  # reading it says what is wrong with it
            state = (0, 0)
        digest.update(repr((str(Path(path).absolute()), state)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:32]


@dataclass(frozen=True)
class _Work:
    """The files of a cache to be made, and what is kept of each; see `open_cache`."""

    paths: Sequence[str]
    size: int
    whole: bool
    skip: bool
    pixel_range: PixelRange | None

    @property
    def side(self) -> int:
        """Of a square, or the shorter one of a whole picture."""
        return round(MARGIN * self.size) if self.whole else self.size


def _build(work: _Work, path: Path, described: Path, threads: int) -> None:
    count = len(work.paths)
    jobs = [range(at, min(at + JOB, count)) for at in range(0, count, JOB)]

    def measured(job: range) -> list[tuple[int, int]]:
        return [_room(work, index) for index in job]

    with quiet(), ThreadPoolExecutor(max(1, threads)) as pool:
        rooms = np.array([room for job in pool.map(measured, jobs) for room in job])
        ends = np.cumsum(3 * rooms[:, 0] * rooms[:, 1])
        places = np.column_stack([np.r_[0, ends[:-1]], rooms]).astype(np.int64)
        _check_space(path.parent, int(ends[-1]))

        def fill(temporary: Path) -> None:
            pixels = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.uint8, shape=(int(ends[-1]),)
            )

            def decoded(job: range) -> None:
                for index in job:
                    _keep(work, Cache(pixels, places), index)

            list(pool.map(decoded, jobs))
            pixels.flush()

        def describe(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.save(file, places)

        write(path, fill)
        write(described, describe)


def _room(work: _Work, index: int) -> tuple[int, int]:
    """(height, width) that a picture takes, by its header; 0 x 0 if that cannot be read."""
    try:
        width, height, _ = check_header(work.paths[index])
    except UserError:
        if not work.skip:
            raise
        return 0, 0
    if not work.whole:
        return work.side, work.side
    # A picture that is turned upright swaps both, and takes as many bytes.
    scale = min(1.0, work.side / min(width, height))
    return round(scale * height), round(scale * width)


def _keep(work: _Work, cache: Cache, index: int) -> None:
    """Decode a file into its place."""
    _, height, width = (int(value) for value in cache.places[index])
    if not height:
        return
    try:
        picture = decode_file(work.paths[index], work.pixel_range)
    except UserError:
        if not work.skip:
            raise
        cache.places[index, 1:] = 0
        return
    if not work.whole:
        picture = central_square(picture)
    elif (picture.width > picture.height) != (width > height):
        height, width = width, height
        cache.places[index, 1:] = height, width
    kept = picture.resize((width, height), Image.Resampling.BICUBIC)
    cache[index][:] = np.asarray(kept)


def _check_space(folder: Path, needed: int) -> None:
    """Writing to a mapped file on a full disk ends the process: look before."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"`cache` {folder} has {free / 1e9:.1f} GB free and needs {needed / 1e9:.1f}; "
            "choose another folder or train without"
        )
