"""What is said of one image: saved, and shown in a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iavit.errors import UserError
from iavit.handover.classifier import Classifier
from iavit.model.weights import Saved
from tests.handover.pictures import CLASSES, picture


def test_a_class_is_asked_for_by_name_or_number(classifier: Classifier) -> None:
    by_name = classifier.explain(picture(), target="dog")
    by_number = classifier.explain(picture(), target=1)
    assert by_name.target == by_number.target == 1
    np.testing.assert_array_equal(by_name.map, by_number.map)
    every = classifier.explain(picture())
    np.testing.assert_array_equal(by_name.contributions(), every.contributions("dog"))
    assert not np.allclose(every.contributions("dog"), every.contributions("cat"))
    assert by_name.facts()["target"] == "dog"


def test_saved_as_picture_facts_and_arrays(classifier: Classifier, tmp_path: Path) -> None:
    seen = classifier.explain(picture(size=(50, 20)), target="dog")
    seen.save(tmp_path / "overlay.png")
    with Image.open(tmp_path / "overlay.png") as overlay:
        assert overlay.format == "PNG"
    facts = json.loads(seen.save(str(tmp_path / "facts.json")).read_text())
    assert facts["target"] == "dog"
    assert facts["classes"] == list(CLASSES)
    np.testing.assert_allclose(facts["map"], seen.map, atol=1e-6)
    np.testing.assert_allclose(facts["probabilities"], seen.probabilities, atol=1e-6)
    with np.load(seen.save(tmp_path / "arrays.npz")) as arrays:
        assert arrays["classes"].tolist() == list(CLASSES)
        assert int(arrays["target"]) == 1
        for name, values in seen.to_numpy().items():
            np.testing.assert_array_equal(arrays[name], values)
    assert {"map", "attention", "contributions", "probabilities"} <= seen.to_numpy().keys()
    with pytest.raises(UserError, match=r"\.png, \.json, \.npz"):
        seen.save(tmp_path / "overlay.jpg")
    with pytest.raises(UserError, match="cannot be written"):
        seen.save(tmp_path / "gone" / "overlay.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "arrays.npz", "facts.json", "overlay.png"
    ]  # fmt: skip


def test_a_notebook_shows_it_and_a_class_name_is_no_markup(classifier: Classifier) -> None:
    names = ("<b>fox</b>", '"><script>', "<img>")
    hostile = Classifier(
        Saved(classifier.model, names, classifier.saved.normalisation), classifier.folder
    )
    seen = hostile.explain(picture())
    shown = seen._repr_html_()
    assert shown.startswith('<img alt="')
    assert shown.count("<") == shown.count(">") == 1
    assert seen._repr_png_().startswith(b"\x89PNG")
