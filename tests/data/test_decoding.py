from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from iavit.data import decoding
from iavit.data.decoding import (
    check_header,
    decode_bytes,
    decode_mask,
    image_endings,
    parse_pixel_range,
    picture_to_rgb,
    read_image,
)
from iavit.data.transforms import to_pixels
from iavit.errors import UserError


def saved(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("P", 0, "png", (0, 0, 0)),
        ("LA", (90, 255), "png", (90, 90, 90)),
        ("LA", (0, 127), "png", (128, 128, 128)),
        ("PA", (0, 255), "tiff", (0, 0, 0)),
        ("YCbCr", (76, 85, 255), "tiff", (254, 0, 0)),
        ("LAB", (255, 128, 128), "tiff", (254, 255, 254)),
        ("I;16", 65_535, "tiff", (255, 255, 255)),
        ("I;16B", 0x8000, "tiff", (128, 128, 128)),
        ("I", 51_400, "tiff", (200, 200, 200)),
        ("F", 0.5, "tiff", (128, 128, 128)),
        ("F", 0.0, "tiff", (0, 0, 0)),
        ("F", 1.0, "tiff", (255, 255, 255)),
        ("I", 0, "tiff", (0, 0, 0)),
        ("I", 65_535, "tiff", (255, 255, 255)),
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


def test_premultiplied_colours_and_padded_ones_are_read_as_they_were_seen() -> None:
    for mode, colour, expected in (
        ("RGBa", (50, 25, 0, 127), (178, 153, 128)),
        ("La", (0, 0), (255, 255, 255)),
        ("RGBX", (1, 2, 3, 0), (1, 2, 3)),
        ("HSV", (0, 255, 255), (255, 0, 0)),
        ("I;16L", 0x0300, (3, 3, 3)),
    ):
        picture = Image.new(mode, (2, 2), colour)
        red, green, blue = picture_to_rgb(picture).getpixel((1, 1))  # type: ignore[misc]
        assert (red, green, blue) == pytest.approx(expected, abs=1), mode


@pytest.mark.parametrize(
    ("mode", "value", "message"),
    [
        ("F", 4095.0, "values from 0 to 4095, and fractions are read from 0 to 1"),
        ("F", -0.5, "values from -0.5 to 0"),
        ("F", float("nan"), "no numbers"),
        ("I", 65_536, "values from 0 to 65536, and whole numbers are read from 0 to 65535"),
        ("I", -3, "values from -3 to 0"),
    ],
)
def test_values_without_a_known_range_are_refused(
    tmp_path: Path, mode: str, value: float, message: str
) -> None:
    picture = Image.new(mode, (3, 3))
    picture.putpixel((1, 1), value)
    path = saved(picture, tmp_path / "deep.tiff")
    with pytest.raises(UserError, match=f"deep.tiff has {message}|deep.tiff has values") as caught:
        read_image(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("I;16", 1000, 0), ("I;16", 2000, 128), ("I;16", 5000, 255), ("F", 1500.5, 64), ("I", -9, 0)],
)
def test_a_named_range_scales_deep_greys(
    tmp_path: Path, mode: str, value: float, expected: int
) -> None:
    path = saved(Image.new(mode, (3, 3), value), tmp_path / "deep.tiff")
    assert read_image(path, (1000, 3000)).getpixel((1, 1)) == (expected,) * 3


def test_a_named_range_leaves_bytes_alone(tmp_path: Path) -> None:
    path = saved(Image.new("L", (3, 3), 77), tmp_path / "grey.png")
    assert read_image(path, (1000, 3000)).getpixel((1, 1)) == (77, 77, 77)


def test_a_range_is_two_rising_numbers() -> None:
    assert parse_pixel_range(None) is None
    assert parse_pixel_range("0, 4095") == (0, 4095)
    for text in ("", "5", "1,2,3", "a,b", "3,3", "4095,0", "0,inf", "nan,1"):
        with pytest.raises(UserError, match="`pixel_range` is"):
            parse_pixel_range(text)


MASKS: dict[str, tuple[str, object, object]] = {  # mode, what is unmarked, what is marked
    "ids of 16 bits": ("I;16", 0, 1),
    "fractions": ("F", 0.0, 0.004),
    "ids of a byte": ("L", 0, 1),
    "bilevel": ("1", 0, 1),
    "colours": ("RGB", (0, 0, 0), (0, 0, 7)),
    "white on transparent": ("RGBA", (255, 255, 255, 0), (255, 255, 255, 255)),
    "black on transparent": ("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)),
    "white on opaque black": ("RGBA", (0, 0, 0, 255), (255, 255, 255, 255)),
    "grey with alpha": ("LA", (9, 0), (9, 255)),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_marks_what_is_not_zero(tmp_path: Path, name: str) -> None:
    mode, unmarked, marked = MASKS[name]
    picture = Image.new(mode, (4, 3), unmarked)  # type: ignore[arg-type]
    picture.putpixel((2, 1), marked)  # type: ignore[arg-type]
    suffix = "tiff" if mode == "F" else "png"
    found = decode_mask(saved(picture, tmp_path / f"mask.{suffix}"))
    assert found.shape == (3, 4)
    assert found.nonzero()[0].tolist() == [1]
    assert found.nonzero()[1].tolist() == [2]


def test_a_palettes_mask_marks_what_is_not_black(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([0, 0, 0, 128, 0, 0])
    picture.putdata([0, 1])
    assert decode_mask(saved(picture, tmp_path / "voc.png")).tolist() == [[False, True]]


def test_formats_that_start_other_programs_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import EpsImagePlugin

    path = tmp_path / "innocent.jpg"
    Image.new("RGB", (2, 2)).save(path, format="EPS")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: pytest.fail("started"))
    for read in (read_image, check_header, decode_mask):
        with pytest.raises(UserError, match="no image in a known format"):
            read(path)
    assert ".eps" not in image_endings()
    assert {".jpg", ".png", ".tif", ".webp", ".bmp", ".gif"} <= image_endings()


def test_heic_is_read_or_says_what_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pillow_heif")
    path = saved(Image.new("RGB", (64, 64), (200, 100, 50)), tmp_path / "PHONE.HEIC")
    red, green, blue = read_image(path).getpixel((30, 30))  # type: ignore[misc]
    assert (red, green, blue) == pytest.approx((200, 100, 50), abs=4)
    assert ".heic" in image_endings()
    without = tuple(name for name in decoding.FORMATS if name != "HEIF")
    monkeypatch.setattr(decoding, "FORMATS", without)
    with pytest.raises(UserError, match=r"PHONE\.HEIC .*iavit\[heif\]"):
        read_image(path)


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
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_text("I am a picture, honestly"), "no image"),
        (truncated, "damaged"),
    ],
)
def test_what_is_no_image_is_refused_by_name_in_one_line(
    tmp_path: Path, make: object, message: str
) -> None:
    path = tmp_path / "holiday\n.jpg"
    make(path)  # type: ignore[operator]
    with pytest.raises(UserError, match=message) as caught:
        read_image(path)
    assert "holiday" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_of_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 2 * (Image.MAX_IMAGE_PIXELS or 0) == decoding.PIXEL_LIMIT
    path = saved(Image.new("RGB", (10, 40)), tmp_path / "bomb.png")
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 400)
    for read in (read_image, check_header, decode_mask):
        read(path)
    monkeypatch.setattr(decoding, "PIXEL_LIMIT", 399)
    for read in (read_image, check_header, decode_mask):
        with pytest.raises(UserError, match=r"bomb.png has more than 399 pixels"):
            read(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)  # Pillow's own refusal is told the same
    for read in (read_image, check_header, decode_mask):
        with pytest.raises(UserError, match=r"bomb.png has more than 399 pixels"):
            read(path)


@pytest.mark.parametrize("mode", ["LA", "RGBA", "L"])
def test_bytes_are_decoded_as_files_are(tmp_path: Path, mode: str) -> None:
    picture = Image.new("RGBA", (3, 2), (10, 20, 30, 128)).convert(mode)
    path = saved(picture, tmp_path / "half.png")
    assert decode_bytes(path.read_bytes(), "half").tobytes() == read_image(path).tobytes()


def test_bytes_that_are_no_image_are_refused_by_the_name_given() -> None:
    for content in (b"", b"no picture"):
        with pytest.raises(UserError, match=r"shard\.tar/7 is"):
            decode_bytes(content, "shard.tar/7")


def test_a_cmyk_photograph_and_a_palette_of_two_are_read(tmp_path: Path) -> None:
    path = saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "print.jpg")
    red, green, blue = read_image(path).getpixel((4, 4))  # type: ignore[misc]
    assert red > 240
    assert max(green, blue) < 15


def test_sixteen_bits_with_a_transparent_grey(tmp_path: Path) -> None:
    picture = Image.new("I;16", (2, 2), 300 * 100)
    picture.putpixel((1, 0), 5)
    path = saved(picture, tmp_path / "deep.png", transparency=5)
    read = read_image(path)
    assert read.getpixel((0, 0)) == (117, 117, 117)
    assert read.getpixel((1, 0)) == (255, 255, 255)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (4000, 2)])
def test_any_size_and_aspect(tmp_path: Path, size: tuple[int, int]) -> None:
    path = saved(Image.new("RGB", size), tmp_path / "strip.png")
    assert to_pixels(read_image(path), 16).shape == (3, 16, 16)


def test_a_header_says_what_is_no_image_but_not_what_is_cut_off(tmp_path: Path) -> None:
    cut, text = tmp_path / "cut.jpg", tmp_path / "text.jpg"
    truncated(cut)
    text.write_text("no")
    assert check_header(cut) == (64, 64, "RGB")
    for path, message in ((text, "no image"), (tmp_path / "none.jpg", "no such file")):
        with pytest.raises(UserError, match=message):
            check_header(path)


def test_a_file_that_may_not_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(Image.new("RGB", (2, 2)), tmp_path / "locked.png")

    def forbidden(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", forbidden)
    with pytest.raises(UserError, match="permissions"):
        read_image(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="no ordinary file"):
        read_image(tmp_path / "pipe.png")
