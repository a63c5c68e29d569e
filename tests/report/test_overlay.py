"""A picture and a line of JSON for each image file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from iavit.data.transforms import to_pixels
from iavit.errors import UserError
from iavit.evaluate.trust import trust
from iavit.explain import EXPLAINERS
from iavit.report.figures import HEIGHT, WIDTH
from iavit.report.overlay import explain_images
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
    assert facts["trust"] == trust(saved.model, pixels).told(0)
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
