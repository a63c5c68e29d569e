"""What comes over the wire: bounded while it is read, and decoded with as much care as a file."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from fastapi import HTTPException
from PIL import Image, UnidentifiedImageError

from iavit.data.decoding import FORMATS, decode_bytes, quiet, shown
from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.handover.fit import Frame, fitted, frame_of

DRAWN = 1024  # pixels of the longer side that are kept of a picture that will be drawn


@dataclass(frozen=True)
class Upload:
    """One picture, decoded and brought to the model's size.

    square: (S, S, 3) uint8. frame: where the picture lies in it.
    picture: as it came, at most `DRAWN` pixels wide and high; None where nobody will draw it.
    """

    name: str
    square: np.ndarray
    frame: Frame
    picture: Image.Image | None


def decode_upload(
    content: bytes,
    name: str | None,
    side: int,
    normalisation: Normalisation,
    most_pixels: int,
    *,
    drawn: bool,
) -> Upload:
    """The content of an image file to what the model reads.

    Raises `HTTPException`: 415 for what is no image, 413 for too many pixels, 422 for what is
    empty or damaged.
    """
    called = shown(name or "the picture")
    if not content:
        raise HTTPException(422, f"{called} is empty")
    _check_header(content, called, most_pixels)
    try:
        picture = decode_bytes(content, called, normalisation.pixel_range)
    except UserError as error:
        raise HTTPException(422, str(error)) from error
    square = np.array(fitted(picture, side, normalisation))
    frame = frame_of(picture.size, side)
    if drawn:
        picture.thumbnail((DRAWN, DRAWN))
    return Upload(name or "", square, frame, picture if drawn else None)


def _check_header(content: bytes, called: str, most_pixels: int) -> None:
    """Before anything is decoded: a few bytes can claim any number of pixels."""
    try:
        with quiet(), Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            pixels = opened.width * opened.height
    except Image.DecompressionBombError:
        pixels = most_pixels + 1
    except UnidentifiedImageError as error:
        raise HTTPException(
            415, f"{called} is no image in a known format; send a JPEG, PNG or WebP"
        ) from error
    except Exception as error:  # whatever a damaged header makes of a decoder
        raise HTTPException(422, f"{called} is damaged") from error
    if pixels > most_pixels:
        raise HTTPException(
            413, f"{called} has more than {most_pixels:,} pixels; scale it down first"
        )
