"""`iavit demo`: the whole way, and once more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from iavit import load
from iavit.cli import main
from iavit.data import digits
from iavit.data.datasets import load_dataset


@pytest.mark.slow
def test_the_demo_goes_the_whole_way_and_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(digits, "SCENES", {"train": 96, "val": 12, "test": 12})
    folder = tmp_path / "demo"
    for _ in range(2):
        assert main(["demo", "--output", str(folder), "--steps", "3"]) == 0
    assert json.loads((folder / "evaluation.json").read_text())["images"] == 12
    _explains_as_the_model_does(folder)
    assert "<html" in (folder / "report" / "index.html").read_text()
    assert "trained already" in capsys.readouterr().out


def _explains_as_the_model_does(folder: Path) -> None:
    """What suffices was measured before, so it is outlined."""
    names = sorted(path.name for path in (folder / "explanations").iterdir())
    assert names == [f"scene-{number}.png" for number in range(8)]
    model = load(folder)
    assert model.config is not None
    scenes = load_dataset(model.config).test
    pixels = scenes.normalisation.restore(scenes[[3]].images)[0].permute(1, 2, 0).numpy()
    explained = model.explain(Image.fromarray(pixels))
    assert explained.sufficient is not None
    drawn = (folder / "explanations" / "scene-3.png").read_bytes()
    assert drawn == explained._repr_png_()
