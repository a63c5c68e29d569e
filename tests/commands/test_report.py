"""`iavit report`: the page of a run, beside its evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest

from iavit.cli import main
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
