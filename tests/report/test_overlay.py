"""A picture and a line of JSON for each image file."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from iavit.data.transforms import to_pixels
from iavit.errors import UserError
from iavit.evaluate.trust import trust
from iavit.explain import EXPLAINERS
from iavit.report.overlay import HEIGHT, WIDTH, explain_images, explanation_figure
from tests.report import CLASSES, tiny_model


def picture(seed: int = 0, size: tuple[int, int] = (31, 17)) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(256, size=(*size[::-1], 3), dtype=np.uint8))


@pytest.mark.parametrize("name", ["interpreter", "contributions"])
def test_facts(name: str, tmp_path: Path) -> None:
    saved = tiny_model()
    (facts,) = explain_images(
        saved, {Path("some/cat.jpeg"): picture()}, EXPLAINERS[name], tmp_path / "out"
    )
    assert set(facts) == {
        "image", "predictor", "interpreter", "agreement", "explainer", "trust", "target", "map"
    }  # fmt: skip
    assert json.loads(json.dumps(facts)) == facts
    with torch.no_grad():
        output = saved.model(saved.normalisation.normalise(to_pixels(picture(), 12))[None])
    for branch, logits in (
        ("predictor", output.logits),
        ("interpreter", output.interpreter_logits),
    ):
        told = {entry["class"]: entry["probability"] for entry in facts[branch]}
        expected = dict(zip(CLASSES, logits[0].softmax(dim=-1).tolist(), strict=True))
        assert told == pytest.approx(expected, abs=1e-5)
        assert list(told.values()) == sorted(told.values(), reverse=True)
    assert facts["image"] == "some/cat.jpeg"
    assert facts["explainer"] == name
    assert facts["target"] == facts["predictor"][0]["class"]
    assert facts["agreement"] is (facts["target"] == facts["interpreter"][0]["class"])
    pixels = saved.normalisation.normalise(to_pixels(picture(), 12))[None]
    assert facts["trust"] == trust(saved.model, pixels).of_image(0)
    assert facts["map"] == str(tmp_path / "out" / "cat.png")


def test_writes_pictures(tmp_path: Path) -> None:
    pictures = {Path("a.jpg"): picture(), Path("b.png"): picture(1, (900, 600))}
    for facts in explain_images(tiny_model(), pictures, EXPLAINERS["interpreter"], tmp_path):
        with Image.open(facts["map"]) as written:
            written.load()
            assert written.format == "PNG"
            assert written.size == (WIDTH, HEIGHT)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_one_stem_does_not_overwrite_another(tmp_path: Path) -> None:
    paths = [Path("a/x.png"), Path("b/x.png"), Path("x-2.jpg"), Path("x.jpg")]
    pictures = {path: picture(seed) for seed, path in enumerate(paths)}
    lines = list(explain_images(tiny_model(), pictures, EXPLAINERS["interpreter"], tmp_path))
    assert [line["image"] for line in lines] == [str(path) for path in paths]
    written = {line["map"] for line in lines}
    assert len(written) == 4
    assert len({Path(path).read_bytes() for path in written}) == 4


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lines = explain_images(
        tiny_model(), {Path("a.png"): picture()}, EXPLAINERS["interpreter"], tmp_path / "file"
    )
    with pytest.raises(UserError, match="cannot be written"):
        list(lines)


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "predictor": [{"class": "cat", "probability": 0.75}, {"class": "dog", "probability": 0.2}],
        "interpreter": [{"class": "dog", "probability": 0.6}, {"class": "fox", "probability": 0.3}],
        "agreement": False,
        "explainer": "interpreter",
        "trust": {"trust": 0.5, "answer": 0.625, "parts": 0.8},
        "target": "cat",
    } | changes


@pytest.mark.parametrize("side", [7, 28, 301])
@pytest.mark.parametrize("shape", [(3, 5), (28, 28)])
@pytest.mark.parametrize("signed", [False, True])
def test_figure(side: int, shape: tuple[int, int], signed: bool) -> None:
    heat = np.random.default_rng(0).normal(size=shape)
    png = explanation_figure(Image.new("RGB", (side, side), "teal"), heat, signed, facts())
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert picture.width == WIDTH
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert (pixels == (0, 128, 128)).all(axis=1).any()


def test_the_figure_tells_agreement_and_explainer() -> None:
    picture, heat = Image.new("RGB", (8, 8)), np.eye(2)
    same = explanation_figure(picture, heat, False, facts())
    assert explanation_figure(picture, heat, False, facts()) == same
    assert explanation_figure(picture, heat, False, facts(agreement=True)) != same
    assert explanation_figure(picture, heat, False, facts(explainer="rollout")) != same
    assert explanation_figure(picture, heat, True, facts()) != same


@pytest.mark.parametrize(
    "name", ["$x^", r"\frac{1}", "$\\undefined$", "猫", "<b>", "a" * 300, "two\nlines", ""]
)
def test_a_figure_of_strange_names(name: str) -> None:
    top = [{"class": name, "probability": 1.0}]
    explanation_figure(Image.new("RGB", (8, 8)), np.eye(2), False, facts(predictor=top))
