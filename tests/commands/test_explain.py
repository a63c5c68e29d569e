"""`iavit explain`: files in, pictures and lines of JSON out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich import console

from iavit.cli import main
from iavit.commands import explain as command
from iavit.handover import explaining
from iavit.handover.classifier import load
from iavit.handover.explaining import TOGETHER
from iavit.report.overlay import HEIGHT, WIDTH
from tests import report
from tests.commands import mistake
from tests.handover.pictures import folder_of_pictures, picture


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a picture.png"
    Image.effect_noise((60, 40), 80).convert("RGB").save(path)
    return path


def test_explain_writes_a_picture_and_a_line_for_each_image(
    tiny_run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "elsewhere" / photo.name
    other.parent.mkdir()
    Image.new("L", (9, 300)).save(other)
    arguments = ["explain", str(tiny_run), str(photo), str(other)]
    assert main([*arguments, "--output", str(tmp_path / "maps")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["image"] for line in lines] == [str(photo), str(other)]
    assert len({line["map"] for line in lines}) == 2
    for line in lines:
        assert isinstance(line["agreement"], bool)
        for branch in ("predictor", "interpreter"):
            probabilities = [top["probability"] for top in line[branch]]
            assert probabilities == sorted(probabilities, reverse=True)
            assert 0 < sum(probabilities) <= 1.0001
        with Image.open(line["map"]) as overlay:
            assert overlay.format == "PNG"


@pytest.mark.parametrize("names", ["rolout", "rollout,rolout", ","])
def test_an_unknown_explainer_of_a_picture(
    tiny_run: Path, photo: Path, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--explainer" in mistake(capsys, "explain", tiny_run, photo, "--explainer", names)


def test_one_bad_image_among_good_ones_leaves_nothing_behind(
    tiny_run: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG but not really")
    maps = tmp_path / "maps"
    assert "bad.png" in mistake(capsys, "explain", tiny_run, photo, bad, "--output", maps)
    assert not maps.exists()
    gone = tmp_path / "gone.png"
    assert "gone.png" in mistake(capsys, "explain", tiny_run, gone, "--output", maps)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_of_pictures(tmp_path / "pictures")


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


@pytest.mark.slow
def test_two_processes_explain_every_picture_once_to_the_same_files(
    tiny_run: Path, tmp_path: Path
) -> None:
    """Also of one name in two folders, by an explainer that draws, and beside a damaged file."""
    root = tmp_path / "pictures"
    for number in range(2 * TOGETHER + 5):
        place = root / f"{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        picture(number).save(place / f"{number // 2}.png")
    whole = (root / "0" / "3.png").read_bytes()
    (root / "0" / "3.png").write_bytes(whole[: len(whole) // 2])
    said, files = {}, {}
    for devices in ("1", "2"):
        folder = tmp_path / devices
        options = ["--explainer", "contributions,random", "--format", "json", "--devices", devices]
        command = [sys.executable, "-m", "iavit", "explain", str(tiny_run), str(root), *options]
        done = subprocess.run(
            [*command, "--output", str(folder)],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith("iavit: 1 of 37 images were left out: ")
        assert done.stderr.count("\n") == 1
        said[devices] = done.stdout.replace(str(folder), "")
        files[devices] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert said["1"].count("\n") == 2 * 36
    assert len(files["1"]) == 2 * 36
    assert said["1"] == said["2"]
    assert files["1"] == files["2"]


def test_pictures_go_two_at_a_time_into_the_runs_own_folder_and_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also by an explainer that draws."""
    monkeypatch.setattr(explaining, "TOGETHER", 2)
    run, root = tmp_path / "run", folder_of_pictures(tmp_path / "pictures")
    report.tiny_run(run)
    given = ["explain", str(run), str(root), "--explainer", "random", "--format", "json"]
    written = []
    for _ in range(2):
        assert main(given) == 0
        found = lines(capsys)
        assert [Path(str(line["image"])) for line in found] == [
            root / "a.png", root / "b.jpg", root / "deep" / "a.png"
        ]  # fmt: skip
        paths = [Path(str(line["json"])) for line in found]
        assert {path.parent for path in paths} == {run / "explanations"}
        assert len(set(paths)) == 3
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]


def test_a_line_can_be_read_before_the_next_picture_is_explained(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also through a pipe, which keeps back what is not flushed."""
    pipe = io.BytesIO()
    read: list[list[str]] = []
    whole = explaining.explain_pictures

    def explain(*given: Any, **named: Any) -> Any:
        facts = map(json.loads, pipe.getvalue().splitlines())
        read.append([Path(fact["image"]).name for fact in facts])
        return whole(*given, **named)

    report.tiny_run(tmp_path / "run")
    monkeypatch.setattr(explaining, "TOGETHER", 1)
    monkeypatch.setattr(explaining, "explain_pictures", explain)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, encoding="utf-8"))
    assert main(["explain", str(tmp_path / "run"), str(pictures), "--format", "json"]) == 0
    assert read == [[], ["a.png"], ["a.png", "b.jpg"]]


def test_what_other_processes_carried_out_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared: list[tuple[str, ...]] = []
    monkeypatch.setattr(command, "share_work", lambda *words: shared.append(words))
    given = ["explain", str(tmp_path / "none"), "a.png", "--devices", "2", "--device", "cpu"]
    assert main(given) == 0
    assert shared == [("2", "cpu", "give the same command again")]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("wanted", "terminal", "shown"),
    [(True, True, True), (False, True, False), (True, False, False)],
)
def test_a_bar_counts_on_standard_error(
    wanted: bool, terminal: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    whole = console.Console

    def made(*, stderr: bool) -> console.Console:
        assert stderr
        return whole(file=screen, force_terminal=terminal, width=120)

    monkeypatch.setattr(console, "Console", made)
    with command._bar(6, wanted) as bar:
        for _ in range(3):
            bar.advance(bar.task_ids[0])
    assert ("3/6" in screen.getvalue()) is shown
    rate: Any = bar.columns[2]
    assert rate.render(SimpleNamespace(speed=2.345)).plain == "2.3 images a second"
    assert rate.render(SimpleNamespace(speed=None)).plain == ""
