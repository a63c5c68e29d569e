"""Each piece of bad input: status 2, one line that names it, nothing written, no code run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from iavit.cli import main
from tests.corpus.measured import EVALUATIONS
from tests.corpus.options import OPTIONS
from tests.corpus.pictures import PICTURES, content
from tests.corpus.settings import SETTINGS
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


@pytest.mark.parametrize("name", SETTINGS)
def test_a_bad_file_of_settings(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(SETTINGS[name])
    refused("train", "--config", path, "--data", "digits", "--steps", "1")


@pytest.mark.parametrize("name", SETTINGS)
def test_bad_settings_of_a_run(
    name: str, tiny_run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    """What stands in place of the run's own line of that name."""
    shutil.copytree(tiny_run, tmp_path / "run")
    path, content = tmp_path / "run" / "config.yaml", SETTINGS[name]
    own = path.read_bytes().splitlines(keepends=True)
    edited = content.partition(b":")[0] + b":"
    path.write_bytes(b"".join(line for line in own if not line.startswith(edited)) + content)
    assert "config.yaml" in refused("report", tmp_path / "run")


@pytest.fixture(scope="module")
def measured_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was measured on a few images."""
    folder = tmp_path_factory.mktemp("measured") / "run"
    shutil.copytree(tiny_run, folder)
    few = ["--explainers", "interpreter,random", "--images", "6", "--points", "3"]
    assert main(["evaluate", str(folder), *few, "--coverage", "0"]) == 0
    return folder


@pytest.mark.parametrize("name", EVALUATIONS)
@pytest.mark.parametrize("command", ["report", "card"])
def test_a_bad_evaluation(
    command: str, name: str, measured_run: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    shutil.copytree(measured_run, tmp_path / "run")
    path = tmp_path / "run" / "evaluation.json"
    path.write_text(EVALUATIONS[name](path.read_text()))
    assert "evaluation.json" in refused(command, tmp_path / "run")


@pytest.mark.parametrize("words", OPTIONS)
def test_bad_options(
    words: str,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(content("PNG"))
    names = {"run": tiny_run, "picture": tmp_path / "a.png", "here": tmp_path}
    assert main([word.format(**names) for word in words.split()]) == 2
    line = capsys.readouterr().err
    assert line.startswith("iavit: ")
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    assert len(line) < 900
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_corpus_is_large() -> None:
    once = len(PICTURES) + len(TABLES) + len(SHARDS) + len(WEIGHTS) + len(OPTIONS)
    twice = len(SETTINGS) + len(EVALUATIONS)  # a file and a run's; by the page and by the card
    assert once + 2 * twice >= 400
