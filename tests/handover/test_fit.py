"""Pictures that are not square: nothing is cut off, and the border is what a missing patch is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from iavit.data.transforms import Normalisation
from iavit.handover.classifier import Classifier
from iavit.handover.fit import Frame, fitted, frame_of
from tests.handover.pictures import picture


def test_nothing_outside_the_centre_is_lost(classifier: Classifier) -> None:
    wide = np.zeros((20, 40, 3), np.uint8)
    plain = classifier.explain(wide)
    wide[:, :8] = 255  # which the central square leaves out
    marked = classifier.explain(wide)
    assert not np.allclose(plain.probabilities, marked.probabilities)
    assert marked.facts()["fit"] == {
        "how": "border", "side": 32, "left": 0, "top": 8, "width": 32, "height": 16
    }  # fmt: skip
    assert classifier.explain(picture()).facts()["fit"]["how"] == "whole"


def test_the_border_is_what_stands_for_a_missing_patch(classifier: Classifier) -> None:
    """A flat picture of the mean colour with a border is the same as without."""
    flat = np.full((8, 32, 3), [51, 102, 153], np.uint8)
    square = np.full((32, 32, 3), [51, 102, 153], np.uint8)
    np.testing.assert_array_equal(classifier.explain(flat).map, classifier.explain(square).map)


@pytest.mark.parametrize(
    ("size", "frame"),
    [
        ((40, 20), Frame(32, 0, 8, 32, 16)),
        ((20, 41), Frame(32, 8, 0, 16, 32)),
        ((47, 31), Frame(32, 0, 5, 32, 21)),
        ((1000, 3), Frame(32, 0, 15, 32, 1)),
        ((7, 7), Frame(32, 0, 0, 32, 32)),
    ],
)
def test_the_longer_side_fills_the_square(size: tuple[int, int], frame: Frame) -> None:
    assert frame_of(size, 32) == frame
    assert frame.bordered is (size != (7, 7))
    mean = Normalisation((0.2, 0.4, 0.6), (0.5, 0.5, 0.5))
    square = np.array(fitted(Image.new("RGB", size, (9, 9, 9)), 32, mean))
    assert square.shape == (32, 32, 3)
    inside = (square == 9).all(axis=-1)
    rows, columns = (
        slice(frame.top, frame.top + frame.height),
        slice(frame.left, frame.left + frame.width),
    )
    assert inside[rows, columns].all()
    assert inside.sum() == frame.width * frame.height
    assert (square[~inside] == (51, 102, 153)).all()


def test_a_picture_is_made_smaller_without_steps() -> None:
    """Bicubic: of a slope every pixel differs from the one beside it."""
    slope = Image.fromarray(
        np.repeat(np.arange(0, 192, 3).astype(np.uint8)[None], 64, axis=0)
    ).convert("RGB")
    across = np.array(fitted(slope, 32, Normalisation()))[16, :, 0].astype(int)
    assert (np.diff(across) > 3).all()
    larger = np.array(fitted(slope, 256, Normalisation()))[9, :, 0].astype(int)
    assert len(np.unique(larger)) > 150
