"""Maps over pictures, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from iavit.report.maps import STRONGEST, blend, is_small, outline, resized


def noise(side: int) -> Image.Image:
    generator = np.random.default_rng(0)
    return Image.fromarray(generator.integers(256, size=(side, side, 3), dtype=np.uint8))


def grey(picture: Image.Image, side: int) -> np.ndarray:
    return np.asarray(resized(picture, (side, side)).convert("L").convert("RGB"))


def test_small_pictures_keep_their_pixels() -> None:
    enlarged = np.asarray(resized(noise(7), (21, 21)))
    np.testing.assert_array_equal(
        enlarged, np.asarray(noise(7)).repeat(3, axis=0).repeat(3, axis=1)
    )


def test_a_picture_is_small_by_its_shorter_side() -> None:
    assert is_small(Image.new("RGB", (200, 63)))
    assert is_small(Image.new("RGB", (63, 200)))
    assert not is_small(Image.new("RGB", (64, 64)))


def test_the_least_value_is_transparent() -> None:
    heat = np.zeros((2, 2))
    heat[0, 1] = 5.0
    mixed = np.asarray(blend(noise(6), heat - 3.0, signed=False, side=12))
    same = (mixed == grey(noise(6), 12)).all(axis=-1)
    assert same[:, :6].all()
    assert same[6:].all()
    assert not same[:6, 6:].any()


def test_zero_is_transparent_where_signs_count() -> None:
    heat = np.array([[0.0, 1.0, -2.0]]).repeat(3, axis=0)
    black = Image.new("RGB", (6, 6))
    mixed = np.asarray(blend(black, heat, signed=True, side=6)).astype(int)
    assert (mixed[:, :2] == 0).all()
    red, _, blue = mixed[0, 2]
    assert red > blue
    red, _, blue = mixed[0, 5]
    assert red < blue
    assert mixed[0, 5].sum() > mixed[0, 2].sum() / 2


def test_the_highest_value_is_the_end_of_the_scale() -> None:
    heat = np.array([[0.0, 0.3], [0.1, 0.9]])
    mixed = np.asarray(blend(Image.new("RGB", (2, 2)), heat, signed=False, side=2))
    inferno_end = np.array([252, 255, 164])
    np.testing.assert_allclose(mixed[1, 1], STRONGEST * inferno_end, atol=1.5)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("side", [5, 70])
@pytest.mark.parametrize("value", [0.0, 3.0, -2.0, np.nan, np.inf])
def test_maps_that_say_nothing(signed: bool, side: int, value: float) -> None:
    mixed = blend(noise(side), np.full((3, 2), value), signed, 10)
    assert mixed.size == (10, 10)
    if not signed or not np.isfinite(value) or value == 0:
        np.testing.assert_array_equal(np.asarray(mixed), grey(noise(side), 10))


@pytest.mark.parametrize("side", [32, 128])
def test_a_patch_looks_as_coarse_as_it_is(side: int) -> None:
    heat = np.array([[1.0, 0.0], [0.25, 0.5]])
    mixed = np.asarray(blend(Image.new("RGB", (side, side)), heat, False, 128))
    for rows, columns in ((0, 0), (0, 1), (1, 0), (1, 1)):
        patch = mixed[64 * rows : 64 * rows + 64, 64 * columns : 64 * columns + 64]
        assert len(np.unique(patch.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(mixed.reshape(-1, 3), axis=0)) == 4


def test_outline_by_hand() -> None:
    evidence = np.zeros((3, 4), dtype=bool)
    evidence[1, 2] = True
    edges = {"M2 1h1", "M2 2h1", "M2 1v1", "M3 1v1"}
    assert set(outline(evidence).replace("M", " M").split(" M")) - {""} == {e[1:] for e in edges}
    evidence[:] = True  # along the border of the picture: 4 + 4 + 3 + 3 edges
    assert outline(evidence).count("M") == 14
    assert outline(np.zeros((3, 4), dtype=bool)) == ""
