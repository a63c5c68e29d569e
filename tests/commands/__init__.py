from __future__ import annotations

from pathlib import Path

import pytest

from iavit.cli import main


def mistake(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that must fail as a user's mistake does; returns its one line."""
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("iavit: ")
    assert error.count("\n") == 1
    return error
