"""Whatever bytes or cells a file has: it is read, or refused in one line."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from PIL import Image

from iavit.config import Config, DataConfig, ModelConfig
from iavit.data.datasets import load_dataset
from iavit.data.decoding import decode_bytes
from iavit.errors import UserError
from tests.corpus.pictures import content

WHOLE = {kind: content(kind, "P" if kind == "GIF" else "RGB", (9, 7)) for kind in (
    "PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA",
)}  # fmt: skip
FEW = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def refusal_of(read: Callable[[], object]) -> str | None:
    """Why something is refused, if it is; any other error is raised."""
    try:
        read()
    except UserError as refusal:
        return str(refusal)
    return None


def is_read_or_refused(read: bytes) -> None:
    pictures: list[Image.Image] = []
    refusal = refusal_of(lambda: pictures.append(decode_bytes(read, "it")))
    if refusal is not None:
        assert refusal.startswith("it ")
        assert "\n" not in refusal
        return
    (picture,) = pictures
    assert picture.mode == "RGB"
    assert len(picture.tobytes()) == 3 * picture.width * picture.height > 0


@FEW
@given(some.binary(max_size=200))
def test_any_bytes(read: bytes) -> None:
    is_read_or_refused(read)


@FEW
@given(some.sampled_from(sorted(WHOLE)), some.integers(0, 10_000), some.binary(max_size=8))
def test_a_picture_with_some_bytes_changed(kind: str, place: int, others: bytes) -> None:
    whole = bytearray(WHOLE[kind])
    place %= len(whole)
    whole[place : place + len(others)] = others
    is_read_or_refused(bytes(whole))


@FEW
@given(some.sampled_from(sorted(WHOLE)), some.integers(0, 10_000))
def test_a_picture_that_is_cut_off(kind: str, length: int) -> None:
    is_read_or_refused(WHOLE[kind][: length % len(WHOLE[kind])])


def loads_or_is_refused(table: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(table)
        config = Config(DataConfig("table", str(path)), ModelConfig("vit_digits", img_size=8))

        def read() -> None:
            splits = load_dataset(config)
            assert len(set(splits.classes)) == len(splits.classes) >= 2
            _ = splits.train

        refusal = refusal_of(read) or ""
        assert "\n" not in refusal
        assert len(refusal) < 1500


@FEW
@given(some.binary(max_size=300))
def test_any_bytes_as_a_table(table: bytes) -> None:
    loads_or_is_refused(table)


CELL = some.text(max_size=6) | some.sampled_from(
    ["1", "1.0", "nan", "inf", "07", "", "train", ".."]
)


@FEW
@given(some.lists(some.lists(CELL, min_size=1, max_size=5), max_size=8), some.sampled_from(",;\t"))
def test_any_cells_below_a_header(rows: list[list[str]], comma: str) -> None:
    lines = [comma.join(("image", "label", "group", "split")), *(comma.join(row) for row in rows)]
    loads_or_is_refused("\n".join(lines).encode("utf-8", "surrogatepass"))
