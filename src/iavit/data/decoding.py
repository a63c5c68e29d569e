"""Any image file to RGB, or a clear refusal."""

from __future__ import annotations

import importlib.util
import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from iavit.errors import UserError

# Larger pictures are refused: a file of a few kilobytes can claim any size.
PIXEL_LIMIT = 178_956_970  # Pillow's own bound on what is no attack for certain
BACKGROUND = "white"  # what shows through where a picture is transparent
HEIF_ENDINGS = (".heic", ".heif", ".hif")  # read by pillow-heif, where it is installed
# More than 8 bits a pixel, all of them grey.
_16_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
DEEP = (*_16_BITS, "I", "F")

PixelRange = tuple[float, float]  # of deep greys: the values that become black and white

if importlib.util.find_spec("pillow_heif") is not None:
    import pillow_heif

    pillow_heif.register_heif_opener()

_WANTED = (
    *("AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI"),
    *("SGI", "TGA", "TIFF", "WEBP"),
)
Image.init()
# The formats that are opened, whatever a file's name says. Pillow knows more, among them some that
# start another program (EPS: Ghostscript) and many that nobody trains on.
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)


class Header(NamedTuple):
    """What the first bytes of an image file say; width and height as stored, Pillow's mode."""

    width: int
    height: int
    mode: str


def image_endings() -> frozenset[str]:
    """Endings of the files that can be read, in small letters, each with its dot."""
    known = Image.registered_extensions()
    return frozenset(ending for ending, kind in known.items() if kind in FORMATS)


def read_image(path: str | os.PathLike[str], pixel_range: PixelRange | None = None) -> Image.Image:
    """An image file as RGB, upright, its first frame, transparency over white.

    pixel_range: the values of greys of more than 8 bits that become black and white. By default
        0 and 65,535 for whole numbers, 0 and 1 for others; what lies outside is refused.

    Raises `UserError` naming the file for one that is missing, empty, truncated, too large, of a
    format that is not in `FORMATS`, or of values without a known range.
    """
    with quiet():
        return decode_file(path, pixel_range)


def decode_file(path: str | os.PathLike[str], pixel_range: PixelRange | None = None) -> Image.Image:
    """`read_image` for threads, which call it inside one `quiet`: warnings are a process's."""
    file = Path(path)
    with _refusals(shown(path)):
        _check_file(file)
        with Image.open(file, formats=FORMATS) as opened:
            return _upright_rgb(opened, shown(path), pixel_range)


def decode_bytes(content: bytes, name: str, pixel_range: PixelRange | None = None) -> Image.Image:
    """The content of an image file, to what `read_image` makes of the file."""
    with quiet(), _refusals(name):
        if not content:
            raise UserError(f"{name} is empty; copy or download it again")
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            return _upright_rgb(opened, name, pixel_range)


def picture_to_rgb(picture: Image.Image, pixel_range: PixelRange | None = None) -> Image.Image:
    """An opened picture, to what `read_image` makes of its file; the picture stays as it is."""
    with quiet(), _refusals("the picture"):
        return _upright_rgb(picture.copy(), "the picture", pixel_range)


def decode_mask(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W) bool, upright: where a picture marks something, by any value that is not 0.

    Of colours, what is not black; where there is transparency, what can also be seen, and of
    pictures that are all black but partly transparent, whatever can be seen.
    """
    with _refusals(shown(path)):
        _check_file(Path(path))
        with Image.open(path, formats=FORMATS) as opened:
            _check_size(opened, shown(path))
            ImageOps.exif_transpose(opened, in_place=True)
            if opened.mode in DEEP:
                return np.nan_to_num(np.asarray(opened)) != 0
            coloured = np.asarray(_without_premultiplied(opened).convert("RGBA"))
            marked, visible = coloured[..., :3].max(axis=2) > 0, coloured[..., 3] > 0
            if not marked.any() and not visible.all():
                return visible
            return marked & visible


def check_header(path: str | os.PathLike[str]) -> Header:
    """Refuse what cannot be an image by its first bytes alone.

    Costs a thousandth of decoding it, and misses what is truncated or damaged further on.
    """
    with _refusals(shown(path)):
        _check_file(Path(path))
        with Image.open(path, formats=FORMATS) as opened:
            _check_size(opened, shown(path))
            return Header(*opened.size, opened.mode)


def parse_pixel_range(text: str | None) -> PixelRange | None:
    """`LOW,HIGH` as two numbers, the first the smaller one; `UserError` for anything else."""
    if text is None:
        return None
    try:
        low, high = (float(word) for word in text.split(","))
    except ValueError:
        low = high = float("nan")
    if not -np.inf < low < high < np.inf:
        raise UserError(f"`pixel_range` is '{text}'; give two numbers, LOW,HIGH, such as 0,4095")
    return low, high


def shown(path: str | os.PathLike[str]) -> str:
    """A file's name on one line, what cannot be printed escaped."""
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
        if name.lower().endswith(HEIF_ENDINGS) and "HEIF" not in FORMATS:
            raise UserError(f"{name} is read with pip install 'iavit[heif]'") from error
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


def _upright_rgb(opened: Image.Image, name: str, pixel_range: PixelRange | None) -> Image.Image:
    _check_size(opened, name)
    ImageOps.exif_transpose(opened, in_place=True)
    if opened.mode in DEEP:
        return _grey_of_8_bits(opened, name, pixel_range).convert("RGB")
    image = _without_premultiplied(opened)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, BACKGROUND)
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it


def _without_premultiplied(image: Image.Image) -> Image.Image:
    """Colours as they are, where they were stored multiplied by their opacity."""
    straight = {"RGBa": "RGBA", "La": "LA"}
    return image.convert(straight[image.mode]) if image.mode in straight else image


def _grey_of_8_bits(image: Image.Image, name: str, pixel_range: PixelRange | None) -> Image.Image:
    """A grey picture of more than 8 bits on the scale of a byte, mode L."""
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low + high):
        raise UserError(f"{name} has values that are no numbers; write it again without them")
    if pixel_range is not None:
        black, white = pixel_range
        scaled = ((values - np.float32(black)) * np.float32(255 / (white - black))).round()
    elif image.mode == "F":
        if low < 0 or high > 1:
            raise _without_range(name, low, high, "fractions are read from 0 to 1")
        scaled = (values * np.float32(255)).round()
    else:
        if low < 0 or high > 65_535:
            raise _without_range(name, low, high, "whole numbers are read from 0 to 65535")
        scaled = values // 256
    bytes_ = scaled.clip(0, 255).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        bytes_[values == transparent] = 255  # over white
    return Image.fromarray(bytes_)


def _without_range(name: str, low: float, high: float, rule: str) -> UserError:
    return UserError(
        f"{name} has values from {low:g} to {high:g}, and {rule}; set `pixel_range` to what is "
        "black and what is white, LOW,HIGH"
    )
