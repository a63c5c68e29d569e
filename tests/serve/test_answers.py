"""The service's answers, by value, against the library's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from iavit.evaluate import trust as trusting
from iavit.evaluate.trust import trust
from iavit.handover.classifier import Classifier
from iavit.serve import answers
from iavit.serve.answers import OFFERED, Question, _remove, answer
from tests.serve.asking import explain


def test_the_answer_is_the_librarys(
    client: TestClient, classifier: Classifier, photo: Path
) -> None:
    (result,) = explain(client, photo, trust="true", contributions="true")
    own = classifier.explain(photo)
    np.testing.assert_allclose(result["probabilities"], own.probabilities, atol=1e-6)
    np.testing.assert_allclose(
        result["interpreter_probabilities"], own.interpreter_probabilities, atol=1e-6
    )
    np.testing.assert_allclose(result["attention"], own.attention, atol=1e-6)
    np.testing.assert_allclose(result["contributions"], own.all_contributions, atol=1e-6)
    np.testing.assert_allclose(result["map"], own.contributions(), atol=1e-6)
    assert result["signed"] is True
    assert result["target"] == result["predictor"][0]["class"] == own.predicted
    assert result["agreement"] == own.agreement
    assert result["trust"] == pytest.approx(
        {"trust": own.trust, "answer": own.answer, "faithfulness": own.faithfulness}, abs=2e-6
    )
    assert result["fit"] == {"side": 32, "left": 0, "top": 5, "width": 32, "height": 21}
    assert result["image"] == "photo.png"


def test_contributions_and_bias_are_the_interpreters_answer(
    client: TestClient, classifier: Classifier, photo: Path
) -> None:
    (result,) = explain(client, photo, contributions="true")
    bias = classifier.model.interpreter.bias
    logits = torch.tensor(result["contributions"]).sum(dim=(0, 1)) + bias
    np.testing.assert_allclose(
        logits.softmax(dim=0).tolist(), result["interpreter_probabilities"], atol=1e-4
    )


@pytest.mark.parametrize("explainer", ["interpreter", "rollout", "saliency"])
def test_a_class_and_an_explainer_that_are_asked_for(
    client: TestClient, classifier: Classifier, photo: Path, explainer: str
) -> None:
    (result,) = explain(client, photo, target="7", explainer=explainer)
    own = classifier.explain(photo, "7", explainer=explainer)
    np.testing.assert_allclose(result["map"], own.map, atol=1e-6)
    assert (result["target"], result["explainer"]) == ("7", explainer)
    assert result["signed"] is own.signed


def test_removed_patches_are_the_mean_colour(
    client: TestClient, classifier: Classifier, photo: Path
) -> None:
    (result,) = explain(client, photo, remove="0,9,63")
    square = torch.from_numpy(np.array(_square(photo))).permute(2, 0, 1)
    image = classifier.saved.normalisation.normalise(square)[None]
    for row, column in ((0, 0), (1, 1), (7, 7)):
        image[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
    with torch.no_grad():
        expected = classifier.model.predict(image).softmax(dim=-1)[0]
    np.testing.assert_allclose(result["probabilities"], expected, atol=1e-6)
    (whole,) = explain(client, photo)
    assert result["probabilities"] != whole["probabilities"]


def test_requests_that_share_a_pass_are_answered_as_if_alone(
    classifier: Classifier, photo: Path
) -> None:
    square = np.array(_square(photo))
    questions = [
        Question(square),
        Question(square[::-1].copy(), target=3, explainer="saliency"),
        Question(square, target=3, removed=(0, 1)),
        Question(square[:, ::-1].copy(), explainer="interpreter", trust=True),
    ]
    together = answer(classifier.saved, questions)
    for question, shared in zip(questions, together, strict=True):
        (alone,) = answer(classifier.saved, [question])
        np.testing.assert_allclose(shared.map, alone.map, atol=1e-6)
        np.testing.assert_allclose(shared.probabilities, alone.probabilities, atol=1e-6)
        assert shared.target == alone.target
        assert (shared.faithfulness is None) is (not question.trust)
    assert together[1].target == 3
    expected = trust(
        classifier.model,
        classifier.saved.normalisation.normalise(
            torch.from_numpy(questions[3].square).permute(2, 0, 1)[None]
        ),
    ).of_image(0)
    assert together[3].faithfulness == pytest.approx(expected["faithfulness"], abs=1e-5)
    assert together[3].trust == pytest.approx(expected["trust"], abs=1e-5)


def test_what_takes_hundreds_of_passes_is_not_offered() -> None:
    assert {"contributions", "interpreter", "saliency"} <= set(OFFERED)
    assert not {"rise", "kernel_shap", "occlusion"} & set(OFFERED)


def _square(photo: Path) -> Image.Image:
    """The picture in the middle of the model's square, by hand: 32 x 21 from row 5 on."""
    with Image.open(photo) as opened:
        resized = opened.convert("RGB").resize((32, 21), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (32, 32), (round(255 * 0.27),) * 3)
    square.paste(resized, (0, 5))
    return square


def test_a_question_asks_for_the_predicted_class_and_no_more() -> None:
    square = np.zeros((4, 4, 3), np.uint8)
    asked = Question(square)
    assert (asked.target, asked.explainer, asked.trust) == (None, "contributions", False)
    assert asked.removed == ()


def test_patches_of_a_grid_that_is_not_square_are_removed() -> None:
    image = torch.ones(3, 6, 20)
    _remove(image, (7, 0), (3, 5))  # row 1, column 2; and the first
    gone = torch.zeros(6, 20, dtype=torch.bool)
    gone[2:4, 8:12] = gone[:2, :4] = True
    assert torch.equal(image == 0, gone.expand(3, 6, 20))


def test_the_first_class_may_be_asked_for_and_no_gradient_is_kept(
    classifier: Classifier, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []

    def noted(*given: torch.Tensor) -> torch.Tensor:
        kept.extend(each.requires_grad for each in given)
        return trusting.shared(*given)

    monkeypatch.setattr(answers, "shared", noted)
    square = np.array(_square(photo))
    first, last = answer(classifier.saved, [Question(square, 0), Question(square, 9)])
    assert (first.target, last.target) == (0, 9)
    np.testing.assert_array_equal(first.map, first.contributions[..., 0])
    np.testing.assert_array_equal(last.map, first.contributions[..., 9])
    assert (first.signed, first.trust, first.faithfulness) == (True, None, None)
    assert kept == [False, False]
