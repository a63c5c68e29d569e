"""Any image file to RGB, or a clear refusal."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from iavit.errors import UserError

# Larger pictures are refused: a file of a few kilobytes can claim any size.
PIXEL_LIMIT = 178_956_970  # Pillow's own bound on what is no attack for certain


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """An image file as RGB, upright, its first frame, transparency over white.

    Raises `UserError` naming the file for one that is missing, empty, truncated, too large or
    no image.
    """
    file = Path(path)
    name = ascii(str(file)) if not str(file).isprintable() else str(file)
    if not file.exists():
        raise UserError(f"{name}: there is no such file")
    if file.is_dir():
        raise UserError(f"{name} is a folder; name the images in it, such as {name}/*.png")
    try:
        if file.stat().st_size == 0:
            raise UserError(f"{name} is empty; copy or download it again")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata is no reason to stop
            with Image.open(file) as opened:
                if opened.width * opened.height > PIXEL_LIMIT:
                    raise UserError(_too_large(name))
                return _to_rgb(ImageOps.exif_transpose(opened))
    except Image.DecompressionBombError as error:
        raise UserError(_too_large(name)) from error
    except UnidentifiedImageError as error:
        raise UserError(f"{name} is no image in a known format; check the file") from error
    except PermissionError as error:
        raise UserError(f"{name} cannot be read; check its permissions") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UserError(f"{name} is damaged ({error}); copy or download it again") from error


def _too_large(name: str) -> str:
    return f"{name} has more than {PIXEL_LIMIT:,} pixels; scale it down first"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):  # 16 bits a pixel, of which 8 are kept
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
