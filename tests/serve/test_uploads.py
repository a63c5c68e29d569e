"""Whatever is sent as a picture gets its status, and the next request its answer."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient

from iavit.data.transforms import Normalisation
from iavit.handover.fit import Frame
from iavit.serve.uploads import Upload, decode_upload
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


def upload(content: bytes, most: int = 10**6, *, drawn: bool = False) -> Upload:
    mean = Normalisation((0.2, 0.4, 0.6), (0.5, 0.5, 0.5))
    return decode_upload(content, None, 32, mean, most, drawn=drawn)


def test_a_picture_that_will_be_drawn_is_kept_and_no_larger_than_needed() -> None:
    wide = jpeg(2048, 300)
    assert upload(wide).picture is None
    kept = upload(wide, drawn=True)
    assert kept.picture is not None
    assert kept.picture.size == (1024, 150)
    assert kept.frame == Frame(32, 0, 13, 32, 5)
    assert (kept.square.shape, kept.square.dtype.name) == ((32, 32, 3), "uint8")
    assert kept.square[0, 0].tolist() == [51, 102, 153]  # the border is the mean colour
    assert kept.name == ""


def test_as_many_pixels_are_decoded_as_may_be() -> None:
    assert upload(jpeg(60, 40), most=2400).frame == Frame(32, 0, 5, 32, 21)
    with pytest.raises(HTTPException) as refused:
        upload(jpeg(60, 40), most=2399)
    assert (refused.value.status_code, refused.value.detail) == (
        413,
        "the picture has more than 2,399 pixels; scale it down first",
    )
