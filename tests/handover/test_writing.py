"""`iavit explain`: image files in, explanations out as files and lines of JSON."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iavit.cli import main
from iavit.errors import UserError
from iavit.handover.classifier import Classifier, load
from iavit.handover.explaining import TOGETHER, explain_pictures
from iavit.handover.writing import find_pictures, read_pictures, write_explanations
from iavit.report.overlay import HEIGHT, WIDTH
from tests.handover.test_classifier import classifier, folder, picture

__all__ = ["classifier", "folder"]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures at two depths, and a file that is none."""
    root = tmp_path / "pictures"
    (root / "deep").mkdir(parents=True)
    picture(0).save(root / "a.png")
    picture(1, (60, 20)).save(root / "b.jpg")
    picture(2).save(root / "deep" / "a.png")
    (root / "notes.txt").write_text("no picture")
    return root


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
    facts = list(write_explanations(explained, tmp_path))
    assert [line["image"] for line in facts] == names
    assert [Path(line["map"]).name for line in facts] == [
        "x.png", "b-x.png", "x-2.png", f"{Path.cwd().name}-x.png"
    ]  # fmt: skip
    assert len({Path(line["map"]).read_bytes() for line in facts}) == 4


def test_no_picture_is_replaced_by_its_explanation(
    tiny_run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the folder that is written to is that of the pictures."""
    before = {path: path.read_bytes() for path in pictures.rglob("*.*")}
    linked = pictures / "b.png"
    linked.symlink_to(pictures / "b.jpg")
    given = [pictures / "a.png", pictures / "deep" / "a.png", linked]
    arguments = ["explain", tiny_run, *given, "--output", pictures]
    assert main(list(map(str, arguments))) == 0
    names = [Path(str(line["map"])).name for line in lines(capsys)]
    assert names == ["pictures-a.png", "deep-a.png", "pictures-b.png"]
    assert {path: path.read_bytes() for path in before} == before


def test_a_damaged_file_is_left_out_and_named(pictures: Path) -> None:
    damaged = pictures / "c.png"
    whole = (pictures / "a.png").read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    unreadable: list[str] = []
    read = [name for name, _ in read_pictures(find_pictures([pictures]), None, unreadable)]
    assert read == [str(pictures / name) for name in ("a.png", "b.jpg", "deep/a.png")]
    assert len(unreadable) == 1
    assert "c.png" in unreadable[0]


def test_the_command_with_a_target_explainers_and_formats(
    tiny_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["explain", tiny_run, pictures, "--target", "7", "--explainer", "rollout,saliency"]
    more = ["--format", "png,json,npz", "--output", tmp_path / "maps"]
    assert main(list(map(str, [*arguments, *more]))) == 0
    found = lines(capsys)
    assert [(Path(str(line["image"])).name, line["explainer"]) for line in found] == [
        ("a.png", "rollout"), ("a.png", "saliency"), ("b.jpg", "rollout"),
        ("b.jpg", "saliency"), ("a.png", "rollout"), ("a.png", "saliency"),
    ]  # fmt: skip
    assert {line["target"] for line in found} == {"7"}
    expected = load(tiny_run).explain(pictures / "b.jpg", target=7, explainer="saliency")
    written = found[3]
    assert Path(str(written["map"])).name == "b-saliency.png"
    with np.load(str(written["npz"])) as arrays:
        np.testing.assert_allclose(arrays["map"], expected.map, rtol=1e-4, atol=1e-7)
    stored = json.loads(Path(str(written["json"])).read_text())
    np.testing.assert_allclose(stored["map"], expected.map, atol=1e-5)
    assert stored["fit"]["how"] == "border"
    with Image.open(str(written["map"])) as overlay:
        assert (overlay.format, overlay.size) == ("PNG", (WIDTH, HEIGHT))
    assert len(list((tmp_path / "maps").iterdir())) == 18


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--target", "cat"], "--target"),
        (["--target", "10"], "0 to 9"),
        (["--format", "gif"], "--format"),
        (["--explainer", "rolout"], "rollout"),
        (["--device", "abacus"], "--device"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(
    tiny_run: Path,
    pictures: Path,
    tmp_path: Path,
    options: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    maps = tmp_path / "maps"
    assert main(["explain", str(tiny_run), str(pictures), "--output", str(maps), *options]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not maps.exists()


def test_a_damaged_file_does_not_stop_the_others(
    tiny_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (pictures / "a.png").read_bytes()
    (pictures / "a2.png").write_bytes(whole[: len(whole) // 2])
    maps = tmp_path / "maps"
    assert main(["explain", str(tiny_run), str(pictures), "--output", str(maps)]) == 2
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3
    assert "1 of 4 images were left out" in printed.err
    assert "a2.png" in printed.err
    assert len(list(maps.iterdir())) == 3


def test_memory_does_not_grow_with_the_number_of_pictures(classifier: Classifier) -> None:
    """Pictures and explanations are let go as soon as the next ones come."""
    made = 0
    gone: list[int] = []

    def given() -> Iterator[tuple[str, Image.Image]]:
        nonlocal made
        for seed in range(5 * TOGETHER):
            one = picture(seed)
            weakref.finalize(one, gone.append, seed)
            made += 1
            yield str(seed), one
            del one

    most = 0
    for _ in explain_pictures(classifier.saved, given()):
        most = max(most, made - len(gone))
    assert TOGETHER <= most <= 2 * TOGETHER + 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(classifier: Classifier, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    explained = explain_pictures(classifier.saved, [("a.png", picture())])
    with pytest.raises(UserError, match="cannot be written"):
        list(write_explanations(explained, tmp_path))
