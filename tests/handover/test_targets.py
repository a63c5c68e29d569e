"""A class by its name or its number."""

from __future__ import annotations

import pytest

from iavit.errors import UserError
from iavit.handover.classifier import Classifier
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
