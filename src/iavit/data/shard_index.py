"""What lies in tar shards, by their headers and class numbers alone: `shards` reads the images."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iavit.data.decoding import shown
from iavit.data.images import Split
from iavit.errors import UserError

PICTURES = ("jpg", "jpeg", "png", "webp")
SIZES, CLASSES = "sizes.json", "classes.txt"  # beside the shards; what they say is not counted
CLASS_LIMIT = 100_000  # numbers below it; a larger one is a mistake, not so many classes
BYTES_LIMIT = 2**29  # of a file in a shard: it is read whole
_SPLIT_WORD = re.compile(r"(?<![a-z])(train|val|test)(?:ing|id|idation)?(?![a-z])")


@dataclass(frozen=True)
class Shard:
    """count: its samples. labels: of each, -1 for one that cannot be used; None if not looked at.

    broken: what is wrong with the samples that cannot be used.
    """

    path: str
    count: int
    labels: tuple[int, ...] | None = None
    broken: tuple[str, ...] = ()


def webdataset() -> Any:
    """The library; `UserError` where it is not installed."""
    try:
        import webdataset
    except ImportError as error:
        raise UserError(
            "reading shards needs the webdataset library; pip install 'iavit[shards]'"
        ) from error
    return webdataset


def list_shards(root: Path) -> list[str]:
    """The files of a folder or of a pattern, in order; `UserError` where there are none."""
    if root.is_dir():
        found = sorted(str(path) for path in root.glob("*.tar"))
    else:
        found = list(webdataset().shardlists.expand_urls(str(root)))
    missing = next((path for path in found if not Path(path).is_file()), None)
    if missing is not None or not found:
        raise UserError(
            f"`root` {shown(missing or root)}: there are no such shards; name a folder of .tar "
            "files or a pattern such as /data/train-{000..146}.tar"
        )
    return found


def by_split(paths: Sequence[str]) -> dict[Split, list[str]]:
    """Shards by the word in their names: train, val, validation, test, ...; all training if none.

    Raises `UserError` for a name with two such words, or with none where others have one.
    """
    splits: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
    unnamed = []
    for path in paths:
        words = set(_SPLIT_WORD.findall(Path(path).stem.lower()))
        if len(words) > 1:
            raise UserError(
                f"{shown(path)} names two splits, {' and '.join(sorted(words))}; rename it"
            )
        for split in splits:
            if split in words:
                splits[split].append(path)
        if not words:
            unnamed.append(path)
    if len(unnamed) == len(paths):
        return {**splits, "train": unnamed}
    if unnamed:
        raise UserError(
            f"{shown(unnamed[0])} names no split, and others beside it do; rename it, with "
            "train, val or test in its name, or leave it out by a pattern"
        )
    return splits


def look_into(paths: Sequence[str], *, skip: bool) -> tuple[list[Shard], tuple[str, ...]]:
    """What lies in each shard, and the names of the classes.

    `sizes.json` (shard to count) and `classes.txt` (a name a line) beside the shards spare
    opening them. skip: leave out samples that cannot be used.

    Raises `UserError` for a file that is no shard, a class number that is none, one class only
    and, without `skip`, a sample without an image or a class number.
    """
    folder = Path(paths[0]).parent
    sizes, named = folder / SIZES, folder / CLASSES
    try:
        stated = json.loads(sizes.read_text(encoding="utf-8")) if sizes.is_file() else {}
        names = named.read_text(encoding="utf-8").splitlines() if named.is_file() else []
        counts = {path: int(stated[Path(path).name]) for path in paths if Path(path).name in stated}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{shown(sizes)} or {CLASSES} is damaged; write it again") from error
    limit = len(names) or CLASS_LIMIT
    shards = [
        Shard(path, counts[path])
        if names and path in counts
        else read_shard(path, limit, skip=skip)
        for path in paths
    ]
    largest = max(max(shard.labels or (-1,)) for shard in shards)
    classes = tuple(names) or tuple(str(number) for number in range(largest + 1))
    if len(classes) < 2:
        raise UserError(f"{shown(folder)}: the shards have one class only; add another")
    return shards, classes


def damaged(path: str) -> UserError:
    """What is said of a file that is no tar archive to its end."""
    return UserError(f"{shown(path)} is no tar shard, or is damaged; write it again")


def read_shard(path: str, limit: int, *, skip: bool) -> Shard:
    """A shard looked through: its samples' labels, and those that are broken."""
    labels: list[int] = []
    broken: list[str] = []
    for key, endings, number in _samples(path):
        name = shown(f"{path}/{key}")
        problem = _problem(name, endings)
        label = -1
        if problem is None:
            label, problem = _class(number, name, limit)
        if problem is not None and not skip:
            raise UserError(problem)
        labels.append(label)
        broken += [] if problem is None else [name]
    return Shard(path, len(labels), tuple(labels), tuple(broken))


def _samples(path: str) -> Iterator[tuple[str, list[str], bytes]]:
    """Name, endings of the files and `.cls` of each sample, taken together as webdataset does."""
    base_and_ending = webdataset().tariterators.base_plus_ext
    key: str | None = None
    endings: list[str] = []
    number = b""
    try:
        with tarfile.open(path, "r:") as file:
            for member in file:
                if not member.isreg() or re.match(r"__[^/]*__($|/)", member.name):
                    continue
                if member.size > BYTES_LIMIT:
                    raise UserError(
                        f"{shown(f'{path}/{member.name}')} has {member.size:,} bytes; "
                        f"a file in a shard has at most {BYTES_LIMIT:,}"
                    )
                base, ending = base_and_ending(member.name)
                if base is None:
                    continue
                if key is not None and base != key:
                    yield key, endings, number
                    endings, number = [], b""
                key = base
                endings.append(ending.lower())
                if ending.lower() == "cls":
                    content = file.extractfile(member)
                    assert content is not None
                    number = content.read(32)
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        raise damaged(path) from error
    if key is not None:
        yield key, endings, number


def _problem(name: str, endings: Sequence[str]) -> str | None:
    """Why a sample with these files cannot be used, and what to do."""
    pictured = any(ending in PICTURES for ending in endings)
    if pictured and "cls" in endings and len(set(endings)) == len(endings):
        return None
    dotted = next((ending for ending in endings if "." in ending), None)
    if dotted is not None:
        return (
            f"{name} is a sample with the file {shown(f'{Path(name).name}.{dotted}')}: what stands "
            "before the first dot of a name is its sample; write names without other dots"
        )
    if len(set(endings)) < len(endings):
        twice = next(ending for ending in endings if endings.count(ending) > 1)
        return f"{name} has two files .{twice}; give each sample a name of its own"
    if not pictured:
        return f"{name} has no image ({', '.join(PICTURES)}); add it, or set `bad_images` to skip"
    where = ", but a .json: write the class number" if "json" in endings else "; write its number"
    return f"{name} has no .cls{where} into {Path(name).name}.cls, or set `bad_images` to skip"


def _class(content: bytes, name: str, limit: int) -> tuple[int, str | None]:
    """The class number in a `.cls`, and what is wrong with it."""
    try:
        label = int(content)
    except ValueError:
        label = -1
    if 0 <= label < limit:
        return label, None
    return -1, f"{name}.cls is no class number from 0 to {limit - 1}; write it again"
