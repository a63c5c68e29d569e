"""`iavit.load`: from a folder and a picture to an explanation."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import iavit
from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.evaluate.evaluation import Figure, Sufficient, SufficientPatches
from iavit.evaluate.trust import trust
from iavit.explain import EXPLAINERS
from iavit.handover.classifier import Classifier, load
from iavit.handover.explaining import TOGETHER, explain_pictures
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved, save_model

CLASSES = ("cat", "dog", "<b>fox</b>")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = IAViT.create("vit_digits", 3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("model")
    save_model(Saved(model, CLASSES, Normalisation((0.2, 0.4, 0.6), (0.5, 0.5, 0.5))), folder)
    return folder


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return load(folder)


def picture(seed: int = 0, size: tuple[int, int] = (32, 32)) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(256, size=(*size[::-1], 3), dtype=np.uint8))


def normalised(classifier: Classifier, shown: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(shown)).permute(2, 0, 1)
    return classifier.saved.normalisation.normalise(pixels)[None]


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


def test_a_class_is_asked_for_by_name_or_number(classifier: Classifier) -> None:
    by_name = classifier.explain(picture(), target="dog")
    by_number = classifier.explain(picture(), target=1)
    assert by_name.target == by_number.target == 1
    np.testing.assert_array_equal(by_name.map, by_number.map)
    every = classifier.explain(picture())
    np.testing.assert_array_equal(by_name.contributions(), every.contributions("dog"))
    assert not np.allclose(every.contributions("dog"), every.contributions("cat"))
    assert by_name.facts()["target"] == "dog"


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


@pytest.mark.parametrize("name", ["gone", "empty", "file"])
def test_what_is_no_model(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    with pytest.raises(UserError, match=name) as told:
        load(tmp_path / name)
    assert "\n" not in str(told.value)


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
