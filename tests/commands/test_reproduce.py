"""`iavit reproduce`: what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from iavit.cli import main
from iavit.commands.reproduce import _seeds
from iavit.errors import UserError
from iavit.experiments import paper
from iavit.experiments.variants import Choices


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


@pytest.mark.parametrize(
    ("given", "choices", "folder", "beside"),
    [
        (["digits"], Choices("digits"), Path("runs/reproduce-digits"), []),
        (
            [
                "stl10", "--seeds", "3", "--settings", "authors", "--budget", "small", "--root",
                "r", "--weights", "w", "--output", "o", "--beside", "a, ,b,",
            ],
            Choices("stl10", (0, 1, 2), "authors", "small", "r", "w"),
            Path("o"),
            [Path("a"), Path("b")],
        ),
    ],
)  # fmt: skip
def test_the_study_that_is_asked_for(
    given: list[str],
    choices: Choices,
    folder: Path,
    beside: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[object] = []

    def carry_out(*arguments: object) -> Path:
        asked.extend(arguments)
        return Path("there.html")

    monkeypatch.setattr(paper, "reproduce", carry_out)
    assert main(["reproduce", *given]) == 0
    assert (asked[0], asked[1], asked[3]) == (choices, folder, beside)
    assert capsys.readouterr().out == "Look at there.html\n"


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1", (0,)),
        ("4", (0, 1, 2, 3)),
        ("7,3", (7, 3)),
        ("5,", (5,)),
        ("0,1", (0, 1)),
        ("0, ,2", (0, 2)),
        ("2000,3", (2000, 3)),
        ("1000", tuple(range(1000))),
    ],
)
def test_seeds_are_how_many_or_which(text: str, seeds: tuple[int, ...]) -> None:
    assert _seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a", "`seeds` is 'a'; give how many, or which: 0,1,2"),
        ("3,4,3", "`seeds` is '3,4,3'; give how many, or which, each once: 0,1,2"),
        ("-1,2", "`seeds` is '-1,2'; give how many, or which, each once"),
        ("", "`seeds` is ''; give how many, or which, each once"),
        ("0", "`seeds` is 0; it must be at least 1"),
        ("1001", "`seeds` is 1001; a study has at most 1000"),
    ],
)
def test_seeds_that_are_none(text: str, line: str) -> None:
    with pytest.raises(UserError) as refused:
        _seeds(text)
    assert str(refused.value).startswith(line)
