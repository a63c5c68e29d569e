"""Pixels to what the model sees, and exactly back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iavit.errors import UserError


@dataclass(frozen=True)
class Normalisation:
    """Each channel's mean and standard deviation, of pixel values from 0 to 1.

    pixel_range: of files with greys of more than 8 bits, the values that become 0 and 1, if they
        are not those of the file's form; see `decoding.read_image`.
    """

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    pixel_range: tuple[float, float] | None = None

    def normalise(self, pixels: Tensor) -> Tensor:
        """(..., 3, H, W) uint8 from 0 to 255, to float32."""
        mean, std = self._columns(pixels.device)
        return pixels.float().div_(255).sub_(mean).div_(std)

    def restore(self, images: Tensor) -> Tensor:
        """The inverse of `normalise`: (..., 3, H, W) float32 to uint8, exact on what it made."""
        mean, std = self._columns(images.device)
        return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def _columns(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean = torch.tensor(self.mean, device=device)[:, None, None]
        return mean, torch.tensor(self.std, device=device)[:, None, None]


def parse_channels(name: str, text: str | None) -> tuple[float, float, float] | None:
    """`R,G,B` as three numbers above 0 and up to 1 (a `mean` may be 0); else `UserError`."""
    if text is None:
        return None
    try:
        red, green, blue = (float(word) for word in text.split(","))
    except ValueError:
        red = green = blue = float("nan")
    if not all(0 < value <= 1 or (value == 0 and name == "mean") for value in (red, green, blue)):
        raise UserError(
            f"`{name}` is '{text}'; give three numbers from 0 to 1, R,G,B, such as 0.5,0.5,0.5"
        )
    return red, green, blue


def central_square(image: Image.Image) -> Image.Image:
    """The largest square in the middle of a picture: the part that the model is shown."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def to_pixels(image: Image.Image, size: int) -> Tensor:
    """An RGB picture to (3, size, size) uint8; its longer side is cropped to the middle."""
    resized = central_square(image).resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1).contiguous()
