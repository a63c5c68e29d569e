"""The commit of the code, as git itself says it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from iavit import provenance


def git(folder: Path, *words: str) -> str:
    named = ["-c", "user.name=a", "-c", "user.email=a@b"]
    command = ["git", "-C", str(folder), *named, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_commit_is_dirty_once_a_file_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(code))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() is None  # outside of a checkout
    git(tmp_path, "init", "-q")
    code.write_text("1")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "tag", "v1")  # whose name is not what is asked for
    first = git(tmp_path, "rev-parse", "HEAD")
    assert len(first) == 40
    assert provenance.commit() == first
    code.write_text("2")
    assert provenance.commit() == f"{first}-dirty"


def test_a_git_that_does_not_answer_is_waited_for_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slow(command: list[str], *, timeout: float, **options: object) -> None:
        assert timeout == 10
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", slow)
    assert provenance.commit() is None
