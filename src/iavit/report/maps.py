"""Maps drawn over pictures, as pixels."""

from __future__ import annotations

import matplotlib
import numpy as np
from PIL import Image

SMALL = 64  # pixels a side: below this a picture is enlarged pixel by pixel, not smoothed
STRONGEST = 0.75  # opacity of a map's maximum


def is_small(picture: Image.Image) -> bool:
    """Whether single pixels are what there is to see."""
    return min(picture.size) < SMALL


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture at (width, height) pixels: small ones keep their pixels sharp."""
    sampling = Image.Resampling.NEAREST if is_small(picture) else Image.Resampling.LANCZOS
    return picture.resize(size, sampling)


def blend(picture: Image.Image, heat: np.ndarray, signed: bool, side: int) -> Image.Image:
    """A map over the picture in grey, `side` pixels a side.

    picture: square. heat: (h, w), on the patch grid or in pixels. Patches stay squares: smoothed,
    a map would look finer than it is. What is unimportant is transparent: the least value, or 0
    where the map is signed.
    """
    strength = Image.fromarray(_strength(heat, signed))
    value = np.asarray(strength.resize((side, side), Image.Resampling.NEAREST))
    grey = np.asarray(resized(picture, (side, side)).convert("L"), dtype=np.float32) / 255
    mixed = painted(grey[..., None], value, signed)
    return Image.fromarray((mixed * 255).round().astype(np.uint8))


def painted(background: np.ndarray, value: np.ndarray, signed: bool) -> np.ndarray:
    """Colours of a map over a background, (..., 3) from 0 to 1.

    background: (..., 1) or a number, from 0 to 1. value: (...) from 0, or -1 if signed, to 1.
    """
    if signed:
        # Without the scale's pale middle: opacity already says how strong a value is.
        position = 0.5 + np.sign(value) * (0.25 + 0.2 * np.abs(value))
        colour = matplotlib.colormaps["RdBu_r"](position)
    else:
        colour = matplotlib.colormaps["inferno"](value)
    opacity = STRONGEST * np.abs(value)[..., None] ** 0.8
    mixed: np.ndarray = background * (1 - opacity) + np.asarray(colour)[..., :3] * opacity
    return mixed


def outline(evidence: np.ndarray) -> str:
    """The border of (H, W) bool evidence as the data of an SVG path, a pixel a unit."""
    return "".join(f"M{x} {y}{'h' if right else 'v'}1" for (x, y), (right, _) in border(evidence))


def border(inside: np.ndarray) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The border of (H, W) bool: where each edge starts, (x, y), and where it goes, (1, 0) or
    (0, 1), in units of a cell.
    """
    padded = np.pad(inside, 1)
    level = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])  # (y, x) where an edge starts
    upright = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    edges = [((int(x), int(y)), (1, 0)) for y, x in level]
    return edges + [((int(x), int(y)), (0, 1)) for y, x in upright]


def _strength(heat: np.ndarray, signed: bool) -> np.ndarray:
    """(h, w) to float32 from 0 to 1, or where signed from -1 to 1 with 0 in its place."""
    finite = np.nan_to_num(heat.astype(np.float32), posinf=0.0, neginf=0.0)
    lowest = 0.0 if signed else float(finite.min())
    span = float(np.abs(finite - lowest).max())
    strength: np.ndarray = ((finite - lowest) / (span or 1.0)).astype(np.float32)
    return strength
