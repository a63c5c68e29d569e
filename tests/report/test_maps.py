"""Maps over pictures, pixel by pixel."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from PIL import Image

from iavit.report.maps import STRONGEST, _strength, blend, is_small, outline, painted, resized


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


@pytest.mark.parametrize(
    ("value", "signed", "scale", "place", "opacity"),
    [
        (1.0, True, "RdBu_r", 0.95, 0.75),
        (-0.5, True, "RdBu_r", 0.15, 0.75 * 0.5**0.8),
        (0.25, True, "RdBu_r", 0.8, 0.75 * 0.25**0.8),
        (0.5, False, "inferno", 0.5, 0.75 * 0.5**0.8),
    ],
)
def test_a_value_has_its_place_on_the_scale_and_its_strength(
    value: float, signed: bool, scale: str, place: float, opacity: float
) -> None:
    colour = np.array(matplotlib.colormaps[scale](place)[:3])
    found = painted(np.full((1, 1), 0.4), np.array([value]), signed)
    np.testing.assert_allclose(found[0], 0.4 * (1 - opacity) + colour * opacity, atol=1e-6)


def test_a_map_is_scaled_by_its_finite_values() -> None:
    heat = np.array([[2.0, 4.0, np.inf], [3.0, 6.0, np.nan]])
    np.testing.assert_allclose(_strength(heat, False), np.array([[2, 4, 0], [3, 6, 0]]) / 6)
    np.testing.assert_allclose(_strength(heat[:, :2], False), [[0, 0.5], [0.25, 1]])
    signed = np.array([[-4.0, 1.0, -np.inf]])
    np.testing.assert_allclose(_strength(signed, True), [[-1, 0.25, 0]])
    assert _strength(signed, True).dtype == np.float32


def test_a_wide_map_lies_on_its_rows_and_columns() -> None:
    """Three rows of two patches; the last row's first is the highest."""
    heat = np.array([[0.0, 0.1], [0.2, 0.3], [0.9, 0.4]])
    mixed = np.asarray(blend(Image.new("RGB", (90, 90)), heat, False, 90)).sum(axis=-1)
    patches = mixed.reshape(3, 30, 2, 45).transpose(0, 2, 1, 3).reshape(3, 2, -1)
    assert (patches == patches[..., :1]).all()
    np.testing.assert_array_equal(patches[..., 0].ravel().argsort(), heat.ravel().argsort())
