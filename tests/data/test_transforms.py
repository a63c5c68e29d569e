from __future__ import annotations

import pytest
import torch
from PIL import Image

from iavit.data.transforms import Normalisation, central_square, to_pixels


def test_restoring_is_the_exact_inverse_for_every_value_of_a_byte() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    odd = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for normalisation in (Normalisation(), odd):
        assert torch.equal(normalisation.restore(normalisation.normalise(pixels)), pixels)


def test_by_hand() -> None:
    normalised = Normalisation().normalise(torch.full((3, 1, 1), 255, dtype=torch.uint8))
    assert normalised.flatten().tolist() == [1.0, 1.0, 1.0]
    pixels = torch.tensor([51, 102, 204], dtype=torch.uint8).view(3, 1, 1)
    with torch.device("meta"):  # where else what is made without a device
        normalised = Normalisation((0.3, 0.2, 0.4), (0.5, 0.25, 0.2)).normalise(pixels)
    assert normalised.flatten().tolist() == pytest.approx([-0.2, 0.8, 2.0])


def test_the_middle_of_a_long_picture_is_kept() -> None:
    picture = Image.new("RGB", (40, 10), "black")
    picture.paste("red", (15, 0, 25, 10))
    assert central_square(picture).getcolors() == [(100, (255, 0, 0))]
    assert to_pixels(picture, 5)[:, 2, 2].tolist() == [255, 0, 0]
    assert to_pixels(picture, 5).shape == (3, 5, 5)
