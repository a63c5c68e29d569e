"""Pictures through a model: in their order, and no more at a time than needed."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from iavit.errors import UserError
from iavit.evaluate.evaluation import Figure, Sufficient, SufficientPatches
from iavit.handover.classifier import Classifier
from iavit.handover.explaining import TOGETHER, as_numpy, explain_pictures
from iavit.handover.fit import frame_of
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved
from iavit.serve.answers import Question, answer
from tests.handover.pictures import picture


def test_a_list_gives_a_list_in_its_order(classifier: Classifier) -> None:
    pictures = [picture(seed) for seed in range(TOGETHER + 3)]
    together = classifier.explain(pictures)
    assert len(together) == TOGETHER + 3
    for shown, seen in zip(pictures, together, strict=True):
        alone = classifier.explain(shown)
        np.testing.assert_allclose(seen.map, alone.map, rtol=0, atol=1e-5)
    assert classifier.explain([]) == []


def test_pictures_are_read_as_they_are_needed(classifier: Classifier) -> None:
    read: list[int] = []

    def pictures() -> object:
        for number in range(10 * TOGETHER):
            read.append(number)
            yield str(number), picture(number)

    first = next(explain_pictures(classifier.saved, pictures()))  # type: ignore[arg-type]
    assert first.name == "0"
    assert len(read) == TOGETHER


def test_the_patches_that_suffice_are_outlined(classifier: Classifier) -> None:
    figure = Figure(0.9, 0.9, 0.9)
    sufficient = Sufficient(0.9, 50, 60, {"contributions": SufficientPatches(7, figure, figure)})
    given = [("a.png", picture())]
    (seen,) = explain_pictures(classifier.saved, given, sufficient=sufficient)
    assert seen.sufficient is not None
    assert seen.sufficient.sum() == 7
    assert seen.map[seen.sufficient].min() > seen.map[~seen.sufficient].max()
    assert seen.facts()["sufficient"] == {"patches": 7, "of": 64, "coverage": 0.9}
    (plain,) = explain_pictures(classifier.saved, given)
    assert plain.facts()["sufficient"] is None
    assert plain._repr_png_() != seen._repr_png_()
    other = (seen.target + 1) % 3  # what was calibrated is the predicted class
    (of_another,) = explain_pictures(classifier.saved, given, target=other, sufficient=sufficient)
    assert of_another.sufficient is None


def test_memory_does_not_grow_with_the_number_of_pictures(classifier: Classifier) -> None:
    """Pictures and explanations are let go as soon as the next ones come."""
    made = 0
    gone: list[int] = []

    def given() -> Iterator[tuple[str, Image.Image]]:
        nonlocal made
        for seed in range(5 * TOGETHER):
            one = picture(seed)
            weakref.finalize(one, gone.append, seed)
            made += 1
            yield str(seed), one
            del one

    most = 0
    for _ in explain_pictures(classifier.saved, given()):
        most = max(most, made - len(gone))
    assert TOGETHER <= most <= 2 * TOGETHER + 1


def test_what_cannot_be_explained_is_refused_before_a_picture_is_read(
    classifier: Classifier,
) -> None:
    pictures: Any = map(pytest.fail, ["a picture is read"])
    for named, line in (
        ({"explainers": ("rollout", "rolout")}, "`explainer`: there is no 'rolout'; name one of "),
        ({"target": 3}, "`target` is 3; the 3 classes"),
    ):
        with pytest.raises(UserError, match=line):
            next(explain_pictures(classifier.saved, pictures, **named))
    wide = IAViT.create("vit_digits", 3, (16, 24))
    saved = Saved(wide, classifier.classes, classifier.saved.normalisation)
    with pytest.raises(UserError, match="by models of square images; this one's are not"):
        next(explain_pictures(saved, pictures))


def test_every_explainer_of_every_picture_in_their_order(classifier: Classifier) -> None:
    given = [(f"{seed}.png", picture(seed, (20 + seed, 30))) for seed in range(3)]
    found = list(
        explain_pictures(
            classifier.saved, given, target="dog", explainers=("rollout", "contributions")
        )
    )
    assert [(one.name, one.explainer, one.signed) for one in found] == [
        (f"{seed}.png", name, name == "contributions")
        for seed in range(3)
        for name in ("rollout", "contributions")
    ]
    assert {one.target for one in found} == {1}
    for one, (_, shown) in zip(found[::2], given, strict=True):
        assert one.picture is shown
        assert one.frame == frame_of(shown.size, 32)
        assert (one.sufficient, one.coverage) == (None, None)
        assert one.answer == round(one.answer, 6)
        assert one.faithfulness == round(one.faithfulness, 6)
    contributions = found[0].all_contributions[..., 1]
    np.testing.assert_allclose(found[1].map, contributions, rtol=0, atol=1e-6)
    assert classifier.model.training is False
    assert as_numpy(torch.ones(3, dtype=torch.float64, requires_grad=True)).dtype == np.float32


@pytest.mark.parametrize(
    ("precision", "most"), [(torch.float64, 1e-5), (torch.bfloat16, 0.1)], ids=str
)
def test_a_model_in_another_precision_is_asked_in_it(
    classifier: Classifier, precision: torch.dtype, most: float
) -> None:
    other = copy.deepcopy(classifier)
    other.model.to(precision)
    for explainer in ("contributions", "saliency"):
        own = classifier.explain(picture(), 1, explainer=explainer)
        found = other.explain(picture(), 1, explainer=explainer)
        assert found.map.dtype == found.probabilities.dtype == np.float32
        np.testing.assert_allclose(found.probabilities, own.probabilities, rtol=0, atol=most)
        assert np.corrcoef(found.map.ravel(), own.map.ravel())[0, 1] > 0.95
    question = Question(np.array(picture()), 1)
    (answered,) = answer(other.saved, [question])
    np.testing.assert_allclose(answered.map, other.explain(picture(), 1).map, rtol=0, atol=1e-5)
