from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from iavit.data import decoding
from iavit.data.decoding import read_image
from iavit.errors import UserError


def saved(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("RGB", (200, 100, 50), "png", (200, 100, 50)),
        ("L", 77, "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("I;16", 200 * 256, "png", (200, 200, 200)),
        ("RGBA", (0, 0, 0, 0), "png", (255, 255, 255)),
        ("LA", (0, 0), "png", (255, 255, 255)),
        ("CMYK", (0, 0, 0, 255), "tiff", (0, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb(
    tmp_path: Path, mode: str, colour: object, suffix: str, expected: tuple[int, int, int]
) -> None:
    picture = Image.new(mode, (3, 5), colour)  # type: ignore[arg-type]
    read = read_image(saved(picture, tmp_path / f"picture.{suffix}"))
    assert read.mode == "RGB"
    assert read.size == (3, 5)
    assert read.getpixel((1, 1)) == expected


def test_a_palette_with_a_transparent_colour_is_laid_over_white(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putdata([0, 1])
    read = read_image(saved(picture, tmp_path / "palette.png", transparency=1))
    assert [read.getpixel((x, 0)) for x in range(2)] == [(255, 0, 0), (255, 255, 255)]


def test_a_picture_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    path = saved(Image.new("RGB", (4, 2)), tmp_path / "turned.jpg", exif=exif)
    assert read_image(path).size == (2, 4)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    path = saved(frames[0], tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_image(path).getpixel((0, 0)) == (255, 0, 0)


def test_names_may_hold_anything(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (2, 2)), tmp_path / "é 图 a\nb.png")
    assert read_image(path).size == (2, 2)


def truncated(path: Path) -> None:
    Image.effect_noise((64, 64), 90).convert("RGB").save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:900])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_text("I am a picture, honestly"), "no image"),
        (truncated, "damaged"),
    ],
)
def test_what_is_no_image_is_refused_by_name_in_one_line(
    tmp_path: Path, make: object, told: str
) -> None:
    path = tmp_path / "holiday\n.jpg"
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=told) as caught:
        read_image(path)
    assert "holiday" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_of_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(Image.new("RGB", (20, 20)), tmp_path / "bomb.png")
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 399)
    with pytest.raises(UserError, match="399 pixels"):
        read_image(path)
