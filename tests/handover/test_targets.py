"""A class by its name or its number."""

from __future__ import annotations

from typing import Any

import pytest

from iavit.errors import UserError
from iavit.handover.classifier import Classifier
from iavit.handover.targets import class_index
from iavit.model.weights import Saved
from tests.handover.pictures import picture


@pytest.mark.parametrize(
    ("target", "told"),
    [("kat", "did you mean cat"), ("Dog ", "did you mean dog"), (3, "0 to 2"), (-1, "0 to 2")],
)
def test_an_unknown_class_is_told_with_the_nearest(
    classifier: Classifier, target: str | int, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        classifier.explain(picture(), target=target)


def test_digits_are_names_before_they_are_numbers(classifier: Classifier) -> None:
    digits = Saved(classifier.model, ("2", "0", "1"), classifier.saved.normalisation)
    assert Classifier(digits, classifier.folder).explain(picture(), target="0").target == 1
    assert Classifier(digits, classifier.folder).explain(picture(), target=0).target == 0


MANY = tuple(f"class {letter}" for letter in "abcdefghijkl")


@pytest.mark.parametrize(
    ("classes", "target", "number"),
    [
        (("2", "0", "1"), "0", 1),
        (("2", "0", "1"), 0, 0),
        (("a", "b", "c"), "2", 2),
        (("a", "b", "c"), 2, 2),
        (("a", "b", "c"), "b", 1),
    ],
)
def test_a_class_has_a_number(classes: tuple[str, ...], target: str | int, number: int) -> None:
    assert class_index(classes, target) == number


@pytest.mark.parametrize(
    ("classes", "target", "line"),
    [
        (
            ("Cat", "dog"),
            "CATS",
            "`target` is 'CATS', and there is no such class; did you mean Cat?",
        ),
        (
            MANY,
            "xyz",
            f"`target` is 'xyz', and there is no such class; did you mean {', '.join(MANY[:10])}?",
        ),
        (("a", "b"), 1.5, "`target` is '1.5', and there is no such class; did you mean a, b?"),
        (("a", "b"), [1], "`target` is '[1]', and there is no such class; did you mean a, b?"),
        (("a", "b", "c"), 3, "`target` is 3; the 3 classes have the numbers 0 to 2"),
        (("a", "b", "c"), "-1", "`target` is -1; the 3 classes have the numbers 0 to 2"),
    ],
)
def test_a_class_that_there_is_not(classes: tuple[str, ...], target: Any, line: str) -> None:
    with pytest.raises(UserError) as refused:
        class_index(classes, target)
    assert str(refused.value) == line
