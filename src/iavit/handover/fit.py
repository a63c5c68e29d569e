"""A picture of any shape as the square that the model reads, nothing of it cut off."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from iavit.data.transforms import Normalisation


@dataclass(frozen=True)
class Frame:
    """Where a picture lies in its square, in pixels of a square of `side`; the rest is border.

    The border is the mean colour, which the model is given where a patch is missing.
    """

    side: int
    left: int
    top: int
    width: int
    height: int

    @property
    def bordered(self) -> bool:
        """Whether there is any border."""
        return (self.width, self.height) != (self.side, self.side)


def frame_of(size: tuple[int, int], side: int) -> Frame:
    """Where a picture of (width, height) lies: its longer side fills the square."""
    longer = max(size)
    width, height = (max(1, round(length * side / longer)) for length in size)
    return Frame(side, (side - width) // 2, (side - height) // 2, width, height)


def fitted(picture: Image.Image, side: int, normalisation: Normalisation) -> Image.Image:
    """An RGB picture, bicubic, in the middle of a square of `side` pixels."""
    frame = frame_of(picture.size, side)
    resized = picture.resize((frame.width, frame.height), Image.Resampling.BICUBIC)
    red, green, blue = (round(255 * value) for value in normalisation.mean)
    square = Image.new("RGB", (side, side), (red, green, blue))
    square.paste(resized, (frame.left, frame.top))
    return square
