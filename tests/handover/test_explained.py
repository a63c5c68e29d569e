"""What is said of one image: saved, and shown in a notebook."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.handover.classifier import Classifier
from iavit.handover.explained import ExplainedImage, most_probable
from iavit.handover.fit import frame_of
from iavit.model.weights import Saved
from iavit.report import overlay
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


def made(**changes: Any) -> ExplainedImage:
    """Of four classes on a grid of 1 x 2 patches; the branches disagree."""
    probabilities = np.array([0.125, 0.5, 0.25, 0.125], np.float32)
    whole = ExplainedImage(
        name="a.png", picture=picture(size=(50, 20)), classes=("cat", "dog", "owl", "fox"),
        probabilities=probabilities, interpreter_probabilities=probabilities[[1, 2, 0, 3]],
        attention=np.array([[0.25, 0.75]], np.float32),
        all_contributions=np.arange(8, dtype=np.float32).reshape(1, 2, 4) / 3, target=2,
        explainer="rollout", map=np.array([[-1 / 3, 2 / 3]], np.float32), signed=True, trust=None,
        answer=0.4375, faithfulness=0.5, frame=frame_of((50, 20), 32),
        normalisation=Normalisation(),
    )  # fmt: skip
    return replace(whole, **changes)


def test_what_is_said_by_hand() -> None:
    one = made()
    assert (one.predicted, one.agreement, one.sufficient, one.coverage) == (
        "dog",
        False,
        None,
        None,
    )
    np.testing.assert_allclose(one.contributions(), [[2 / 3, 2.0]], rtol=1e-6)
    np.testing.assert_allclose(one.contributions("fox"), [[1.0, 7 / 3]], rtol=1e-6)
    assert one.facts() == {
        "image": "a.png",
        "predictor": [
            {"class": "dog", "probability": 0.5},
            {"class": "owl", "probability": 0.25},
            {"class": "cat", "probability": 0.125},  # the first of two that are equal
        ],
        "interpreter": [
            {"class": "cat", "probability": 0.5},
            {"class": "dog", "probability": 0.25},
            {"class": "owl", "probability": 0.125},
        ],
        "agreement": False,
        "explainer": "rollout",
        "trust": {"trust": None, "answer": 0.4375, "faithfulness": 0.5},
        "target": "owl",
        "sufficient": None,
        "fit": {"how": "border", "side": 32, "left": 0, "top": 9, "width": 32, "height": 13},
    }
    same = made(interpreter_probabilities=one.probabilities, frame=frame_of((9, 9), 32))
    assert same.agreement
    assert same.facts()["fit"]["how"] == "whole"
    enough = made(sufficient=np.array([[False, True]]), coverage=0.9)
    assert enough.facts()["sufficient"] == {"patches": 1, "of": 2, "coverage": 0.9}
    third = np.array([1 / 3, 2 / 3], np.float32)
    assert [each["probability"] for each in most_probable(third, "ab")] == [0.666667, 0.333333]


def test_facts_of_a_file_are_rounded_and_readable(tmp_path: Path) -> None:
    text = made(classes=("cat", "dog", "öwl", "fox")).save(tmp_path / "a.json").read_text("utf-8")
    assert text.endswith("}\n")
    found = json.loads(text)
    assert "öwl" in text
    assert found["map"] == [[-0.333333, 0.666667]]
    assert found["attention"] == [[0.25, 0.75]]
    assert "contributions" not in found  # of every class: for a program


@pytest.mark.parametrize(("size", "side"), [((50, 20), 50), ((3000, 10), 1024), ((7, 5), 32)])
def test_a_figure_has_the_picture_as_large_as_it_is_within_reason(
    size: tuple[int, int], side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Any, ...]] = []
    opened: list[tuple[int, int]] = []
    png = io.BytesIO()
    picture(size=(3, 2)).save(png, "PNG")

    def figure(*given: Any) -> bytes:
        drawn.append(given)
        return png.getvalue()

    monkeypatch.setattr(overlay, "explanation_figure", figure)
    monkeypatch.setattr(Image.Image, "show", lambda self: opened.append(self.size))
    one = made(picture=picture(size=size), frame=frame_of(size, 32))
    assert one._repr_png_() == png.getvalue()
    square, heat, signed, facts, sufficient = drawn[0]
    assert square.size == (side, side)
    assert (heat is one.map, signed, facts, sufficient) == (True, True, one.facts(), None)
    one.show()
    assert opened == [(3, 2)]


def test_explanations_can_be_compared_and_kept_in_sets(classifier: Classifier) -> None:
    first, second = classifier.explain([picture(), picture()])
    assert first == first
    assert first != second
    assert len({first, second, first}) == 2
