"""Each piece of bad input: status 2, one line that names it, nothing written, no code run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iavit.cli import main
from tests.corpus.pictures import PICTURES
from tests.corpus.shards import SHARDS
from tests.corpus.tables import TABLES, pictures
from tests.corpus.weights import WEIGHTS

SMALL = ("--backbone", "vit_digits", "--img-size", "16", "--steps", "1")


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command that cannot be carried out; its one line, after a look at what it left."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        status = main([*map(str, arguments), "--output", str(tmp_path / "output")])
        line = capsys.readouterr().err
        assert status == 2
        assert line.startswith("iavit: ")
        assert line.count("\n") == 1
        assert line.rstrip("\n").isprintable()
        assert len(line) < 900
        assert "Traceback" not in line
        left = [path for path in tmp_path.rglob("*") if path.name != "output"]
        assert sorted(left) == before  # no canary, nothing half-written
        return line

    return run


@pytest.mark.parametrize("name", PICTURES)
def test_a_bad_picture(
    name: str, tiny_run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    PICTURES[name](tmp_path / name)
    line = refused("explain", tiny_run, tmp_path / name)
    assert name.rpartition(".")[2] in line


@pytest.mark.parametrize("name", TABLES)
def test_a_bad_table(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    pictures(tmp_path)
    TABLES[name](tmp_path / name)
    refused("train", "--data", "table", "--root", tmp_path / name, *SMALL)


@pytest.mark.parametrize("name", SHARDS)
def test_bad_shards(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    SHARDS[name](tmp_path)
    refused("train", "--data", "shards", "--root", tmp_path, *SMALL)


@pytest.mark.parametrize("name", WEIGHTS)
def test_bad_weights(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    WEIGHTS[name](tmp_path / name)
    line = refused("train", "--data", "digits", "--weights", tmp_path / name, "--steps", "1")
    assert name.rpartition(".")[2] in line


def test_the_corpus_is_large() -> None:
    assert len(PICTURES) + len(TABLES) + len(SHARDS) + len(WEIGHTS) >= 200
