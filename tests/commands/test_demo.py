"""`iavit demo`: the whole way, and once more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iavit.cli import main


def test_the_demo_goes_the_whole_way_and_may_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    for _ in range(2):
        assert main(["demo", "--output", str(folder), "--steps", "3"]) == 0
    assert json.loads((folder / "evaluation.json").read_text())["images"] == 60
    assert list((folder / "explanations").glob("*.png"))
    assert "<html" in (folder / "report" / "index.html").read_text()
    assert "trained already" in capsys.readouterr().out
