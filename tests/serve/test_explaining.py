"""The service's answers, by value, against the library's own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from iavit.evaluate.trust import trust
from iavit.handover.classifier import Classifier
from iavit.serve.answers import OFFERED, Question, answer
from iavit.serve.app import create_app


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> Iterator[TestClient]:
    with TestClient(create_app(classifier.saved)) as client:
        yield client


def _explain(client: TestClient, *photos: Path, **options: str) -> list[dict[str, Any]]:
    files = [("files", (photo.name, photo.read_bytes())) for photo in photos]
    response = client.post("/v1/explain", files=files, data=options)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def test_the_answer_is_the_librarys(
    client: TestClient, classifier: Classifier, photo: Path
) -> None:
    (result,) = _explain(client, photo, trust="true", contributions="true")
    own = classifier.explain(photo)
    np.testing.assert_allclose(result["probabilities"], own.probabilities, atol=1e-6)
    np.testing.assert_allclose(
        result["interpreter_probabilities"], own.interpreter_probabilities, atol=1e-6
    )
    np.testing.assert_allclose(result["attention"], own.attention, atol=1e-6)
    np.testing.assert_allclose(result["contributions"], own.all_contributions, atol=1e-6)
    np.testing.assert_allclose(result["map"], own.contributions(), atol=1e-6)
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
    (result,) = _explain(client, photo, contributions="true")
    bias = classifier.model.interpreter.bias
    logits = torch.tensor(result["contributions"]).sum(dim=(0, 1)) + bias
    np.testing.assert_allclose(
        logits.softmax(dim=0).tolist(), result["interpreter_probabilities"], atol=1e-4
    )


def test_an_upright_photograph_is_explained_as_its_owner_saw_it(
    client: TestClient, photo: Path, tmp_path: Path
) -> None:
    with Image.open(photo) as opened:
        upright = opened.copy()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    turned = tmp_path / "turned.png"
    upright.rotate(90, expand=True).save(turned, exif=exif)
    first, second = _explain(client, photo, turned)
    assert second["map"] == first["map"]


@pytest.mark.parametrize("explainer", ["interpreter", "rollout", "saliency"])
def test_a_class_and_an_explainer_that_are_asked_for(
    client: TestClient, classifier: Classifier, photo: Path, explainer: str
) -> None:
    (result,) = _explain(client, photo, target="7", explainer=explainer)
    own = classifier.explain(photo, "7", explainer=explainer)
    np.testing.assert_allclose(result["map"], own.map, atol=1e-6)
    assert (result["target"], result["explainer"]) == ("7", explainer)
    assert result["signed"] is own.signed


def test_removed_patches_are_the_mean_colour(
    client: TestClient, classifier: Classifier, photo: Path
) -> None:
    (result,) = _explain(client, photo, remove="0,9,63")
    square = torch.from_numpy(np.array(_square(photo))).permute(2, 0, 1)
    image = classifier.saved.normalisation.normalise(square)[None]
    for row, column in ((0, 0), (1, 1), (7, 7)):
        image[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
    with torch.no_grad():
        expected = classifier.model.predict(image).softmax(dim=-1)[0]
    np.testing.assert_allclose(result["probabilities"], expected, atol=1e-6)
    (whole,) = _explain(client, photo)
    assert result["probabilities"] != whole["probabilities"]


def test_a_drawing_shows_what_the_library_draws(
    client: TestClient, classifier: Classifier, photo: Path
) -> None:
    files = [("files", ("photo.png", photo.read_bytes()))]
    response = client.post("/v1/explain", files=files, data={"format": "png"})
    assert response.headers["content-type"] == "image/png"
    with (
        Image.open(io.BytesIO(response.content)) as drawn,
        Image.open(io.BytesIO(classifier.explain(photo)._repr_png_())) as own,
    ):
        np.testing.assert_array_equal(np.array(drawn), np.array(own))


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "12"}, "target is 12; the 10 classes have the numbers 0 to 9"),
        ({"target": "seven"}, "target is 'seven', and there is no such class"),
        ({"explainer": "rise"}, "explainer: there is no 'rise' here; name one of"),
        ({"remove": "64"}, "remove: the patches have the numbers 0 to 63"),
        ({"remove": "a"}, "remove: give numbers of patches, such as 0,5,6"),
        ({"format": "gif"}, "format: Input should be 'json' or 'png'"),
    ],
)
def test_an_option_that_is_not_there(
    client: TestClient, photo: Path, options: dict[str, str], words: str
) -> None:
    files = [("files", ("photo.png", photo.read_bytes()))]
    response = client.post("/v1/explain", files=files, data=options)
    assert response.status_code == 422
    assert response.json()["detail"].startswith(words)


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
