"""Files that are given as pictures and cannot be shown to a model."""

from __future__ import annotations

import gzip
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

Make = Callable[[Path], object]


def content(kind: str, mode: str = "RGB", size: tuple[int, int] = (48, 40)) -> bytes:
    """A noisy picture in a format."""
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(values).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def cut(kind: str, share: float) -> Make:
    """The beginning of a file."""
    whole = content(kind, "P" if kind == "GIF" else "RGB")
    return lambda path: path.write_bytes(whole[: int(share * len(whole))])


def chunk(name: bytes, data: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that claims a size, whatever is in it."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deep(mode: str, *values: float) -> Make:
    """A grey TIFF of these values."""

    def save(path: Path) -> None:
        picture = Image.new(mode, (4, 4))
        for place, value in enumerate(values):
            picture.putpixel((place, 0), value)
        picture.save(path, "TIFF")

    return save


def bmp(width: int, height: int) -> bytes:
    """A BMP that claims a size."""
    header = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
    return header + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


def flipped(kind: str, place: int) -> bytes:
    """A file with one byte inverted."""
    whole = bytearray(content(kind))
    whole[place] ^= 0xFF
    return bytes(whole)


def written(whole: bytes) -> Make:
    """A file of these bytes."""
    return lambda path: path.write_bytes(whole)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("picture.png", content("PNG"))


def looped(path: Path) -> None:
    path.symlink_to(path)


BYTES: dict[str, bytes] = {
    "empty.png": b"",
    "one byte.png": b"\x89",
    "zeros.png": b"\0" * 2048,
    "text.jpg": b"I am a picture, honestly",
    "html.png": b"<!doctype html><script>alert(1)</script>",
    "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "eps.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n",
    "pdf.jpg": b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>",
    "elf.png": b"\x7fELF" + b"\0" * 100,
    "script.png": b"#!/bin/sh\ntouch canary\n",
    "pickle.png": b"\x80\x04cos\nsystem\n(S'touch canary'\ntR.",
    "psd.png": b"8BPS\0\x01" + b"\0" * 60,
    "dicom.png": b"\0" * 128 + b"DICM" + b"\0" * 64,
    "fits.png": b"SIMPLE  =                    T" + b" " * 2850,
    "xbm.png": b"#define a_width 8\n#define a_height 1\nstatic char a_bits[] = {0xff};\n",
    "wmf.png": b"\xd7\xcd\xc6\x9a" + b"\0" * 60,
    "gz.png": gzip.compress(content("PNG")),
    "signature.png": b"\x89PNG\r\n\x1a\n",
    "signature.jpg": b"\xff\xd8\xff\xe0",
    "signature.gif": b"GIF89a",
    "signature.tiff": b"II*\0\x08\0\0\0",
    "signature.webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "checksum.png": flipped("PNG", 30),
    "data.png": flipped("PNG", 400),
    "no pixels.png": png(0, 10, b""),
    "bomb.png": png(60_000, 60_000, b"\0" * 1000),
    "wide bomb.png": png(2**31 - 1, 1, b"\0"),
    "few rows.png": png(40, 40, b"\0" * 500),
    "depth.png": png(4, 4, b"\0" * 100, depth=7),
    "colour.png": png(4, 4, b"\0" * 100, colour=5),
    "bomb.bmp": bmp(60_000, 60_000),
    "negative.bmp": bmp(-5, 5),
    "no rows.bmp": bmp(20, 20),
    "bomb.gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\0\0" + b"\0" * 6,
    "bomb.ppm": b"P6 60000 60000 255\n" + b"\0" * 100,
    "letters.ppm": b"P6 ab cd 255\n" + b"\0" * 100,
    "short.ppm": b"P6 20 20 255\n" + b"\0" * 100,
    "ascii.pgm": b"P2 3 3 255\n1 2 three 4 5 6 7 8 9\n",
}
PICTURES: dict[str, Make] = {
    **{name: written(whole) for name, whole in BYTES.items()},
    **{
        f"{int(100 * share)} in 100.{kind.lower()}": cut(kind, share)
        for kind, shares in {
            "PNG": (0.1, 0.4, 0.8),
            "JPEG": (0.1, 0.4, 0.8),
            "GIF": (0.01, 0.4),
            "BMP": (0.01, 0.6),
            "TIFF": (0.01, 0.6),
            "WEBP": (0.1, 0.5),
            "PPM": (0.001, 0.6),
            "TGA": (0.6,),
            "JPEG2000": (0.02,),
        }.items()
        for share in shares
    },
    "no such.png": lambda path: None,
    "folder.png": lambda path: path.mkdir(),
    "pipe.png": os.mkfifo,
    "dangling.png": lambda path: path.symlink_to("nowhere"),
    "loop.png": looped,
    "zip.png": zipped,
    "fractions.tiff": deep("F", 0, 4095),
    "not a number.tiff": deep("F", float("nan")),
    "infinite.tiff": deep("F", float("inf")),
    "below.tiff": deep("F", -1),
    "many bits.tiff": deep("I", 0, 70_000),
    "signed.tiff": deep("I", -5),
    "\x1b[31mred\n<b>.png": lambda path: path.write_bytes(b"no"),
    "[x] [bold]\u202egnp.jpg": lambda path: path.write_bytes(b"no"),
    f"{'long' * 62}.png": lambda path: path.write_bytes(b"no"),
}
