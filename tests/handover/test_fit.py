"""Pictures that are not square: nothing is cut off, and the border is what a missing patch is."""

from __future__ import annotations

import numpy as np

from iavit.handover.classifier import Classifier
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
