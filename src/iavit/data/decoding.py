"""Any image file to RGB, or a clear refusal."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from iavit.errors import UserError

# Larger pictures are refused: a file of a few kilobytes can claim any size.
PIXEL_LIMIT = 178_956_970  # Pillow's own bound on what is no attack for certain
BACKGROUND = "white"  # what shows through where a picture is transparent
_16_BITS = ("I", "I;16", "I;16B", "I;16L")


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """An image file as RGB, upright, its first frame, transparency over white.

    Raises `UserError` naming the file for one that is missing, empty, truncated, too large or
    no image.
    """
    with quiet():
        return decode_file(path)


def decode_file(path: str | os.PathLike[str]) -> Image.Image:
    """`read_image` for threads, which call it inside one `quiet`: warnings are a process's."""
    file = Path(path)
    with _refusals(shown(path)):
        _check_file(file)
        with Image.open(file) as opened:
            return _upright_rgb(opened, shown(path))


def decode_bytes(content: bytes, name: str) -> Image.Image:
    """The content of an image file, to what `read_image` makes of the file."""
    with quiet(), _refusals(name):
        if not content:
            raise UserError(f"{name} is empty; copy or download it again")
        with Image.open(io.BytesIO(content)) as opened:
            return _upright_rgb(opened, name)


def picture_to_rgb(picture: Image.Image) -> Image.Image:
    """An opened picture, to what `read_image` makes of its file; the picture stays as it is."""
    with quiet(), _refusals("the picture"):
        return _upright_rgb(picture.copy(), "the picture")


def check_header(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Refuse what cannot be an image by its first bytes alone; width and height as stored.

    Costs a thousandth of decoding it, and misses what is truncated or damaged further on.
    """
    with _refusals(shown(path)):
        _check_file(Path(path))
        with Image.open(path) as opened:
            _check_size(opened, shown(path))
            return opened.size


def shown(path: str | os.PathLike[str]) -> str:
    """A file's name as it can be told in one line."""
    name = str(path)
    return name if name.isprintable() else ascii(name)


@contextmanager
def quiet() -> Iterator[None]:
    """Nothing is warned of: damaged metadata is no reason to stop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Whatever goes wrong with a file as one line that names it."""
    try:
        yield
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name} is no image in a known format; check the file") from error
    except PermissionError as error:
        raise UserError(f"{name} cannot be read; check its permissions") from error
    except Exception as error:  # whatever a damaged file makes of a decoder
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name} is damaged ({reason}); copy or download it again") from error


def _check_file(file: Path) -> None:
    name = shown(file)
    if file.is_dir():
        raise UserError(f"{name} is a folder; name the images in it, such as {name}/*.png")
    if not file.exists():
        raise UserError(f"{name}: there is no such file")
    if not file.is_file():  # reading from a pipe would wait for ever
        raise UserError(f"{name} is no ordinary file; name an image")
    if file.stat().st_size == 0:
        raise UserError(f"{name} is empty; copy or download it again")


def _check_size(image: Image.Image, name: str) -> None:
    if image.width * image.height > PIXEL_LIMIT:
        raise _too_large(name)


def _too_large(name: str) -> UserError:
    return UserError(f"{name} has more than {PIXEL_LIMIT:,} pixels; scale it down first")


def _upright_rgb(opened: Image.Image, name: str) -> Image.Image:
    _check_size(opened, name)
    ImageOps.exif_transpose(opened, in_place=True)
    return _to_rgb(opened)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _16_BITS:  # 16 bits a pixel, of which 8 are kept
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, BACKGROUND)
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it
