"""`iavit.load`: from a folder and a picture to an explanation."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import iavit
from iavit.errors import UserError
from iavit.evaluate.trust import trust
from iavit.explain import EXPLAINERS
from iavit.handover.classifier import Classifier, load
from tests.handover.pictures import CLASSES, normalised, picture


def test_what_it_says_is_what_the_model_says(classifier: Classifier) -> None:
    seen = classifier.explain(picture())
    images = normalised(classifier, picture())
    with torch.no_grad():
        output = classifier.model(images)
        contributions = classifier.model.contributions(images)
    target = int(output.logits.argmax())
    np.testing.assert_allclose(seen.probabilities, output.logits[0].softmax(-1), atol=1e-6)
    np.testing.assert_allclose(
        seen.interpreter_probabilities, output.interpreter_logits[0].softmax(-1), atol=1e-6
    )
    np.testing.assert_allclose(
        seen.attention, output.interpreter_attention[0].view(8, 8), atol=1e-6
    )
    np.testing.assert_allclose(
        seen.all_contributions, contributions[0].view(8, 8, 3), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(seen.map, seen.all_contributions[..., target], rtol=0, atol=1e-5)
    assert (seen.predicted, seen.target, seen.signed) == (CLASSES[target], target, True)
    trusted = trust(classifier.model, images).of_image(0)
    assert (seen.trust, seen.answer, seen.faithfulness) == pytest.approx(
        (trusted["trust"], trusted["answer"], trusted["faithfulness"]), abs=1e-6
    )


def test_another_explainers_map(classifier: Classifier) -> None:
    seen = classifier.explain(picture(), target="dog", explainer="saliency")
    images = normalised(classifier, picture())
    expected = EXPLAINERS["saliency"](classifier.model, images, torch.tensor([1])).maps[0]
    np.testing.assert_allclose(seen.map, expected.detach(), rtol=1e-4, atol=1e-7)
    assert (seen.explainer, seen.signed) == ("saliency", False)
    with pytest.raises(UserError, match=r"`explainer`.*salience"):
        classifier.explain(picture(), explainer="salience")


def as_path(shown: Image.Image, folder: Path) -> object:
    shown.save(folder / "photo.png")
    return folder / "photo.png"


PICTURES: dict[str, Callable[[Image.Image, Path], object]] = {
    "path": as_path,
    "string": lambda shown, folder: str(as_path(shown, folder)),
    "PIL": lambda shown, folder: shown,
    "RGBA": lambda shown, folder: shown.convert("RGBA"),
    "array": lambda shown, folder: np.array(shown),
    "array with alpha": lambda shown, folder: np.array(shown.convert("RGBA")),
    "floating point": lambda shown, folder: np.array(shown) / 255,
    "float32": lambda shown, folder: (np.array(shown) / 255).astype(np.float32),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_whatever_a_picture_comes_as(classifier: Classifier, kind: str, tmp_path: Path) -> None:
    given = PICTURES[kind](picture(3), tmp_path)
    seen = classifier.explain(given)  # type: ignore[call-overload]
    np.testing.assert_array_equal(seen.map, classifier.explain(picture(3)).map)
    assert seen.name == (str(tmp_path / "photo.png") if kind in ("path", "string") else "")


def test_a_grey_array_is_a_picture(classifier: Classifier) -> None:
    grey = np.array(picture().convert("L"))
    three = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(classifier.explain(grey).map, classifier.explain(three).map)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((3, 32, 32), np.uint8),
        np.zeros((0, 32, 3), np.uint8),
        np.zeros((32, 32, 3), np.int64),
        np.full((32, 32, 3), 128.0),
        np.full((32, 32, 3), np.nan),
        7,
        "gone.png",
        b"bytes",
    ],
)
def test_what_is_no_picture(classifier: Classifier, given: object) -> None:
    with pytest.raises(UserError, match=r"no image|no such file") as told:
        classifier.explain(given)  # type: ignore[call-overload]
    assert "\n" not in str(told.value)


def test_the_picture_given_is_left_as_it_was(classifier: Classifier) -> None:
    sideways = picture(size=(20, 10))
    exif = sideways.getexif()
    exif[0x0112] = 6  # to be turned upright
    with io.BytesIO() as file:
        sideways.save(file, "png", exif=exif)
        with Image.open(file) as opened:
            seen = classifier.explain(opened)
            assert opened.size == (20, 10)
            assert seen.picture.size == (10, 20)


def test_a_run_its_model_folder_and_the_package_itself(tiny_run: Path) -> None:
    of_run, of_folder = iavit.load(tiny_run), iavit.load(str(tiny_run / "model"))
    assert of_run.classes == of_folder.classes == tuple("0123456789")
    np.testing.assert_array_equal(
        of_run.explain(picture()).probabilities, of_folder.explain(picture()).probabilities
    )
    assert not of_run.model.training


def test_a_run_whose_settings_are_of_another_version_still_answers(
    tiny_run: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(tiny_run / "model", old / "model")
    (old / "config.yaml").write_text("a_setting_of_old: 1\n")
    np.testing.assert_array_equal(
        load(old).explain(picture()).map, load(tiny_run).explain(picture()).map
    )
    (old / "model" / "config.json").unlink()
    with pytest.raises(UserError, match="no finished model"):
        load(old)


def test_a_place_on_the_hub_may_be_a_path_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(repository: str) -> Path:
        asked.append(repository)
        raise UserError("no hub here")

    monkeypatch.setattr("iavit.model.hub.download", download)
    for source in ("hf-hub:owner/name", Path("hf-hub:owner/name")):
        with pytest.raises(UserError, match="no hub here"):
            load(source)
    assert asked == ["owner/name", "owner/name"]


@pytest.mark.parametrize("name", ["gone", "empty", "file"])
def test_what_is_no_model(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    with pytest.raises(UserError, match=name) as told:
        load(tmp_path / name)
    assert "\n" not in str(told.value)
