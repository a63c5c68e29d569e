"""`iavit demo`: the whole way, and once more."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from iavit import load
from iavit.cli import main
from iavit.commands import demo
from iavit.commands.selection import choose_explainers
from iavit.config import PRESETS
from iavit.data import digits
from iavit.data.datasets import load_dataset
from iavit.evaluate.measurement import Settings
from iavit.training import run as running
from iavit.training.directory import Run, load_run
from tests.commands import mistake


@pytest.mark.slow
def test_the_demo_goes_the_whole_way_and_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(digits, "SCENES", {"train": 96, "val": 12, "test": 12})
    folder = tmp_path / "demo"
    for _ in range(2):
        assert main(["demo", "--output", str(folder), "--steps", "3"]) == 0
    assert json.loads((folder / "evaluation.json").read_text())["images"] == 12
    _explains_as_the_model_does(folder, measured=True)
    assert "<html" in (folder / "report" / "index.html").read_text()
    assert "trained already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "seed", "steps"),
    [([], 0, (2800, 1600)), (["--seed", "7", "--steps", "5"], 7, (5, 5))],
)
def test_what_the_demo_asks_of_the_commands(
    options: list[str],
    seed: int,
    steps: tuple[int, int],
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """First of a folder that is empty, then of the run that is in it."""
    folder = tmp_path / "demo"
    trained: list[dict[str, Any]] = []
    evaluated: list[tuple[Any, ...]] = []
    explained: list[Path] = []

    def train(config: Any, folder: Path, **named: Any) -> Run:
        trained.append({**named, "config": config, "folder": folder})
        if not folder.exists():
            shutil.copytree(tiny_run, folder)
        return load_run(folder)

    monkeypatch.setattr(running, "train", train)
    monkeypatch.setattr(demo, "evaluate_run", lambda *given: evaluated.append(given))
    monkeypatch.setattr(demo, "_explain_scenes", lambda run: explained.append(run.folder))
    monkeypatch.setattr(demo, "write_report", lambda run, evaluated, page: (evaluated, page))
    for again in (False, True):
        assert main(["demo", "--output", str(folder), *options]) == 0
        asked = trained.pop()
        preset = PRESETS["digits"]
        training = replace(preset.training, seed=seed, steps=steps[0], interpreter_steps=steps[1])
        assert asked["config"] == replace(preset, training=training)
        assert (asked["folder"], asked["resume"]) == (folder, again)
        assert len(asked["splits"].train) == 96
        (preview,) = asked["callbacks"]
        assert (preview.every, preview.file) == (100, folder / "preview.png")
        assert preview.console is asked["console"]
        run, *others = evaluated.pop()
        assert run.folder == explained.pop() == folder
        assert others == [choose_explainers("quick"), Settings(), folder]
        printed = re.sub(r"took \d+ s", "took N s", capsys.readouterr().out)
        end = f"\nThe whole way took N s. Look at {(folder, folder / 'report')}\n"
        assert printed == (
            f"{folder} is trained already; remove it to train again.\n{end}"
            if again
            else f"Training on real handwritten digits in clutter -> {folder}\n"
            f"Training took N s.\n\n{end}"
        )


@pytest.mark.parametrize("steps", ["0", "-3"])
def test_no_steps_are_too_few(steps: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = mistake(capsys, "demo", "--steps", steps, "--output", "/nonexistent")
    assert line == f"iavit: --steps is {steps}; it must be at least 1\n"


def test_eight_scenes_are_explained_as_files_would_be(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    demo._explain_scenes(load_run(tmp_path / "run"))
    _explains_as_the_model_does(tmp_path / "run", measured=False)


def _explains_as_the_model_does(folder: Path, measured: bool) -> None:
    """What suffices was measured before, so it is outlined."""
    names = sorted(path.name for path in (folder / "explanations").iterdir())
    assert names == [f"scene-{number}.png" for number in range(8)]
    model = load(folder)
    assert model.config is not None
    scenes = load_dataset(model.config).test
    pixels = scenes.normalisation.restore(scenes[[3]].images)[0].permute(1, 2, 0).numpy()
    explained = model.explain(Image.fromarray(pixels))
    assert (explained.sufficient is not None) is measured
    drawn = (folder / "explanations" / "scene-3.png").read_bytes()
    assert drawn == explained._repr_png_()
