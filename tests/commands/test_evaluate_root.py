"""A set that moved, and another test set of the model's classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iavit.cli import main
from tests.data.files import folder


def test_a_set_that_moved_and_another_one_are_found_by_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = folder(tmp_path / "first", {"cat": 20, "dog": 20}, (16, 16))
    options = "train --data folder --backbone vit_digits --img-size 16 --batch-size 4 --steps 2"
    run = str(tmp_path / "run")
    assert main([*options.split(), "--root", str(first), "--output", run]) == 0
    moved = first.rename(tmp_path / "moved")
    evaluate = ["evaluate", run, "--explainers", "random", "--coverage", "0"]
    capsys.readouterr()
    assert main(evaluate) == 2
    assert str(first) in capsys.readouterr().err
    assert main([*evaluate, "--root", str(moved)]) == 0
    counted = json.loads((tmp_path / "run" / "evaluation.json").read_text())["images"]
    other = folder(tmp_path / "other", {"cat": 40, "dog": 40}, (16, 16))
    assert main([*evaluate, "--root", str(other)]) == 0
    again = json.loads((tmp_path / "run" / "evaluation.json").read_text())["images"]
    assert (counted, again) == (again // 2, 2 * counted)
    birds = folder(tmp_path / "birds", {"owl": 20, "tit": 20}, (16, 16))
    capsys.readouterr()
    assert main([*evaluate, "--root", str(birds)]) == 2
    assert "--root: the classes there are owl, tit..., and the model's cat, dog" in (
        capsys.readouterr().err
    )
