"""`iavit reproduce`: what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from iavit.cli import main


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["mnist"], "NAME is 'mnist'"),
        (["celeba"], "say where celeba lies"),
        (["digits", "--seeds", "a"], "--seeds"),
        (["digits", "--seeds", "1,1"], "--seeds"),
        (["digits", "--budget", "none"], "--budget"),
    ],
)
def test_mistakes_are_told_in_a_line(
    given: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", *given, "--output", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
    assert not (tmp_path / "new" / "study.yaml").exists()
