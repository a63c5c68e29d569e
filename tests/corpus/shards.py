"""Tar files that are no shards of pictures and classes."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from tests.data.files import png

Make = Callable[[Path], object]


def tar(path: Path, files: list[tuple[str, bytes]], links: dict[str, str] | None = None) -> None:
    """An archive of these files, and of links by their targets."""
    with tarfile.open(path, "w") as file:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            file.addfile(member)


def samples(count: int = 20) -> list[tuple[str, bytes]]:
    """Whole samples of two classes."""
    return [
        file
        for number in range(count)
        for file in ((f"s{number}.cls", b"%d" % (number % 2)), (f"s{number}.png", png(number)))
    ]


def with_files(*files: tuple[str, bytes]) -> Make:
    """A shard of whole samples and of these files."""
    return lambda folder: tar(folder / "0.tar", [*samples(), *files])


def content(change: Callable[[bytes], bytes]) -> Make:
    """A shard whose bytes are changed."""

    def write(folder: Path) -> None:
        tar(folder / "0.tar", samples())
        (folder / "0.tar").write_bytes(change((folder / "0.tar").read_bytes()))

    return write


def named(*names: str) -> Make:
    """Whole shards of these names."""

    def write(folder: Path) -> None:
        for name in names:
            tar(folder / name, samples())

    return write


def beside(name: str, text: str, encoding: str = "utf-8") -> Make:
    """A whole shard, and a file beside it."""

    def write(folder: Path) -> None:
        tar(folder / "0.tar", samples())
        (folder / name).write_text(text, encoding=encoding)

    return write


def linked(name: str, target: str) -> Make:
    """A sample whose picture is a link."""
    return lambda folder: tar(folder / "0.tar", [*samples(), ("l.cls", b"1")], {name: target})


SHARDS: dict[str, Make] = {
    "none": lambda folder: None,
    "text": content(lambda whole: b"I am no archive"),
    "empty file": content(lambda whole: b""),
    "gzip": content(gzip.compress),
    "cut in a header": content(lambda whole: whole[:300]),
    "cut in a picture": content(lambda whole: whole[:1100]),
    "zeros": content(lambda whole: bytes(10_240)),
    "damaged header": content(lambda whole: whole[:1030] + b"\xff" * 200 + whole[1230:]),
    "no samples": lambda folder: tar(folder / "0.tar", []),
    "one class": lambda folder: tar(folder / "0.tar", [("a.cls", b"0"), ("a.png", png(1))]),
    "no class": with_files(("x.png", png(1))),
    "no picture": with_files(("x.cls", b"1")),
    "label in json": with_files(("x.png", png(1)), ("x.json", b'{"label": 1}')),
    "label in txt": with_files(("x.png", png(1)), ("x.txt", b"cat")),
    "class is a word": with_files(("x.cls", b"cat"), ("x.png", png(1))),
    "class is negative": with_files(("x.cls", b"-1"), ("x.png", png(1))),
    "class is a fraction": with_files(("x.cls", b"1.5"), ("x.png", png(1))),
    "class is empty": with_files(("x.cls", b""), ("x.png", png(1))),
    "class is huge": with_files(("x.cls", b"2000000000"), ("x.png", png(1))),
    "class is endless": with_files(("x.cls", b"9" * 10_000), ("x.png", png(1))),
    "class is a pickle": with_files(("x.cls", b"\x80\x04cos\nsystem\n."), ("x.png", png(1))),
    "two pictures": with_files(("x.cls", b"1"), ("x.png", png(1)), ("x.png", png(2))),
    "dots": with_files(("img.v1.cls", b"1"), ("img.v1.png", png(1)), ("img.v2.png", png(1))),
    "picture apart": with_files(("x.cls", b"1"), ("y.cls", b"1"), ("x.png", png(1))),
    "other formats": with_files(("x.cls", b"1"), ("x.bmp", b"BM")),
    "link to a secret": linked("l.png", "/etc/passwd"),
    "link above": linked("l.png", "../../secret.png"),
    "escape in a name": with_files(("\x1b[31m.png", png(1))),
    "markup in a name": with_files(("[/x].png", png(1))),
    "name above": with_files(("../../above.png", png(1))),
    "absolute name": with_files(("/tmp/absolute.png", png(1))),
    "two splits": named("train-val-0.tar"),
    "split and none": named("train-0.tar", "part-0.tar"),
    "no training": named("val-0.tar", "test-0.tar"),
    "sizes are no json": beside("sizes.json", "{"),
    "sizes are nested": beside("sizes.json", "[" * 100_000),
    "sizes are words": beside("sizes.json", '{"0.tar": "many"}'),
    "classes in latin": beside("classes.txt", "café\nthé\n", "latin-1"),
    "one class named": beside("classes.txt", "cat\n"),
}
