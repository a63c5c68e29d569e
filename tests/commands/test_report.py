"""`iavit report`: the page of a run, beside its evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from iavit.cli import main
from iavit.data.datasets import load_dataset
from iavit.data.images import Images
from iavit.report import page
from iavit.training.directory import Run, read_config
from tests.commands import mistake


def test_report_is_one_page(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = mistake(capsys, "report", tiny_run, "--output", tmp_path / "early")
    assert "iavit evaluate" in told
    assert not (tmp_path / "early").exists()


def test_report_of_an_evaluation_that_was_moved(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    evaluate = ["evaluate", str(tiny_run), "--images", "5", "--explainers", "random"]
    assert main([*evaluate, "--output", str(moved)]) == 0
    assert main(["report", str(tiny_run), "--evaluation", str(moved)]) == 0
    assert (
        "5 of 60 test images, drawn evenly over classes"
        in (moved / "report" / "index.html").read_text()
    )
    assert not (tiny_run / "report").exists()


@pytest.mark.parametrize(
    ("options", "evaluated", "folder"),
    [
        ([], "", "report"),
        (["--evaluation", "e"], "e", "e/report"),
        (["--output", "o"], "", "o"),
        (["--evaluation", "e", "--output", "o"], "e", "o"),
    ],
)
def test_where_the_evaluation_is_and_where_the_page_goes(
    options: list[str],
    evaluated: str,
    folder: str,
    tiny_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Beside the run where nothing else is named."""
    asked: dict[str, Any] = {}

    def write_page(run: Run, images: Images, evaluated: Path, folder: Path) -> Path:
        asked.update(run=run.folder, images=images, evaluated=evaluated, folder=folder)
        return folder / "index.html"

    monkeypatch.setattr(page, "write_page", write_page)
    assert main(["report", str(tiny_run), *options]) == 0
    there = Path(evaluated) if evaluated else tiny_run
    expected = Path(folder) if options else tiny_run / folder
    assert (asked["run"], asked["evaluated"], asked["folder"]) == (tiny_run, there, expected)
    test = load_dataset(read_config(tiny_run)).test
    assert torch.equal(asked["images"][[3]].images, test[[3]].images)
    assert " ".join(capsys.readouterr().out.split("\n")) == f"Look at {expected}/index.html "
