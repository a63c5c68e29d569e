"""`iavit explain`: image files in, explanations out as files and lines of JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from iavit.errors import UserError
from iavit.handover.classifier import Classifier
from iavit.handover.explaining import explain_pictures
from iavit.handover.writing import (
    find_pictures,
    name_explanations,
    read_pictures,
    write_explanations,
)
from tests.handover.pictures import folder_of_pictures, picture


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_of_pictures(tmp_path / "pictures")


def test_files_folders_and_patterns(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, deep = pictures / "a.png", pictures / "b.jpg", pictures / "deep" / "a.png"
    assert find_pictures([pictures]) == [a, b, deep]
    assert find_pictures([b, a]) == [b, a]
    assert find_pictures([pictures / "*.png"]) == [a]
    assert find_pictures([pictures / "**" / "*.png", b]) == [a, deep, b]
    monkeypatch.chdir(pictures)
    assert find_pictures([Path("*.jpg")]) == [Path("b.jpg")]
    strange = pictures / "[1].png"
    picture().save(strange)
    assert find_pictures([strange]) == [strange]


@pytest.mark.parametrize("name", ["gone.png", "*.gif", "empty", "notes.txt"])
def test_what_is_no_picture_is_told(pictures: Path, name: str) -> None:
    (pictures / "empty").mkdir()
    with pytest.raises(UserError, match=name.replace("*", r"\*")) as told:
        find_pictures([pictures / "a.png", pictures / name])
    assert "\n" not in str(told.value)


def test_one_stem_does_not_overwrite_another(classifier: Classifier, tmp_path: Path) -> None:
    names = ["a/x.png", "b/x.png", "x-2.jpg", "x.jpg"]
    given = [(name, picture(seed)) for seed, name in enumerate(names)]
    explained = explain_pictures(classifier.saved, given)
    facts = list(write_explanations(explained, tmp_path, name_explanations(names, tmp_path)))
    assert [line["image"] for line in facts] == names
    assert [Path(line["map"]).name for line in facts] == [
        "x.png", "b-x.png", "x-2.png", f"{Path.cwd().name}-x.png"
    ]  # fmt: skip
    assert len({Path(line["map"]).read_bytes() for line in facts}) == 4


def test_a_damaged_file_is_left_out_and_named(pictures: Path) -> None:
    damaged = pictures / "c.png"
    whole = (pictures / "a.png").read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    unreadable: list[str] = []
    read = [name for name, _ in read_pictures(find_pictures([pictures]), None, unreadable)]
    assert read == [str(pictures / name) for name in ("a.png", "b.jpg", "deep/a.png")]
    assert len(unreadable) == 1
    assert "c.png" in unreadable[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(classifier: Classifier, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    explained = explain_pictures(classifier.saved, [("a.png", picture())])
    with pytest.raises(UserError, match="cannot be written"):
        list(write_explanations(explained, tmp_path, {"a.png": "a"}))
