"""Whatever is sent as a picture gets its status, and the next request its answer."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.serve.asking import jpeg, post


def _bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims side * side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 422, "0.jpg is empty"),
        (b"not a picture at all", 415, "0.jpg is no image in a known format"),
        (jpeg(90, 90)[:1500], 422, "0.jpg is damaged"),
        (jpeg(110, 100), 413, "0.jpg has more than 10,000 pixels; scale it down first"),
        (_bomb(100_000), 413, "0.jpg has more than 10,000 pixels; scale it down first"),
        (_bomb(99), 422, "0.jpg is damaged"),
    ],
    ids=["nothing", "text", "half a file", "too many pixels", "bomb", "no pixels behind it"],
)
def test_what_is_no_picture(narrow: TestClient, content: bytes, status: int, words: str) -> None:
    found, detail = post(narrow, content)
    assert (found, detail[: len(words)]) == (status, words)
    assert post(narrow, jpeg(40, 40))[0] == 200


def test_one_bad_picture_of_several_is_named(narrow: TestClient) -> None:
    assert post(narrow, jpeg(9, 9), b"text")[1].startswith("1.jpg is no image")


def test_names_of_files_are_told_in_one_line(narrow: TestClient) -> None:
    files = [("files", ("a\r\nb.jpg", b"x"))]
    detail = narrow.post("/v1/explain", files=files).json()["detail"]
    assert "\n" not in detail
    assert Path(detail).name  # and it is told
