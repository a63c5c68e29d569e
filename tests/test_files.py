"""Files that are whole or not there, and a folder that one process writes."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from iavit import files
from iavit.cli import main
from iavit.errors import UserError, WriteError
from iavit.files import read_yaml


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of a write that a power cut cannot tear: content, name, folder."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    synced = []

    def sync(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append((target.name, path.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    files.write_text(path, "new")
    assert synced == [(f".a.txt.{os.getpid()}.tmp", "old"), (tmp_path.name, "new")]


WRITERS: dict[str, Callable[[Path], None]] = {
    "bytes": lambda path: files.write_bytes(path, b"new"),
    "text": lambda path: files.write_text(path, "new"),
    "json": lambda path: files.write_json(path, {"a": "new"}),
    "yaml": lambda path: files.write_yaml(path, {"a": "new"}),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, kind: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"fsync": (os, "fsync", full), "replace": (Path, "replace", full)}[fails])
    with pytest.raises(WriteError, match=r"a\.txt cannot be written \(No space left on device\)"):
        WRITERS[kind](path)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"gone/a\.txt cannot be written"):
        files.write_text(tmp_path / "gone" / "a.txt", "new")


def test_json_has_null_for_what_it_does_not_have(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": [math.nan, 1.5], "b": -math.inf, "ä": "ö"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"a": [None, 1.5], "b": None, "ä": "ö"}
    assert text == '{\n "a": [\n  null,\n  1.5\n ],\n "b": null,\n "ä": "ö"\n}\n'


@pytest.fixture
def gone() -> int:
    """The number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(
    tmp_path: Path, gone: int
) -> None:
    strange = f".a.{2**70}.tmp"  # no number of a process
    for name in (f".a.{gone}.tmp", f".a.{os.getpid()}.tmp", strange, ".mine.tmp", "notes.tmp"):
        (tmp_path / name).touch()
    (tmp_path / f".web.{gone}.tmp").mkdir()
    (tmp_path / f".web.{gone}.tmp" / "a").touch()
    with files.locked(tmp_path):
        kept = [f".a.{os.getpid()}.tmp", strange, ".lock", ".mine.tmp", "notes.tmp"]
        assert names(tmp_path) == sorted(kept)


def test_a_file_that_is_written_again_takes_its_own_left_overs_with_it(
    tmp_path: Path, gone: int
) -> None:
    mine = [f".a[1].txt.{gone}.tmp"]
    others = [f".b.txt.{gone}.tmp", f".a1.txt.{gone}.tmp"]
    for name in mine + others:
        (tmp_path / name).touch()
    files.write_text(tmp_path / "a[1].txt", "new")
    assert names(tmp_path) == sorted([*others, "a[1].txt"])


def test_a_folder_is_written_whole_or_not_at_all(
    tmp_path: Path, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "web"
    files.write_folder(folder, {"a": b"1", "b": b"2"})
    (tmp_path / f".web.{gone}.tmp").mkdir()
    (tmp_path / f".web.older.{gone}.tmp").mkdir()
    synced: list[str] = []
    monkeypatch.setattr(files, "_sync", lambda path: synced.append(path.name))
    files.write_folder(folder, {"a": b"3"})
    assert synced == ["a", tmp_path.name]
    assert names(tmp_path) == ["web"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"3"}
    whole = Path.rename

    def full(self: Path, target: Path) -> Path:
        if target == folder and self.name == f".web.{os.getpid()}.tmp":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(WriteError, match=r"web cannot be written \(No space left on device\)"):
        files.write_folder(folder, {"a": b"4"})
    assert names(tmp_path) == ["web"]
    assert (folder / "a").read_bytes() == b"3"


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file; name a folder"):
        files.make_folder(tmp_path / "file")
    with pytest.raises(WriteError) as refused:
        files.make_folder(tmp_path / "file" / "in")
    in_it = tmp_path / "file" / "in"
    line = f"{in_it} cannot be written (Not a directory); choose another folder"
    assert str(refused.value) == line
    made = tmp_path / "a" / "b" / "c"
    assert files.make_folder(made) == files.make_folder(made) == made
    assert names(made) == []


def test_a_folder_is_written_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a name that is relative, too, and over a link to a folder."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    files.write_folder(Path("web"), {"a": b"1"})
    files.write_folder(Path("link"), {"b": b"2"})
    assert (tmp_path / "link").is_symlink()
    assert (names(tmp_path / "web"), names(tmp_path / "real")) == (["a"], ["b"])
    assert names(tmp_path) == ["link", "real", "web"]


HOLDER = """
import sys, pathlib
from iavit.files import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_holds_a_folder_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    """Another one is refused at once: it does not wait."""
    folder = tmp_path / "run"
    answers: list[str] = []

    def enter() -> None:
        try:
            with files.locked(folder):
                answers.append("entered")
        except UserError as error:
            answers.append(str(error))

    other = threading.Thread(target=enter, daemon=True)
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        other.start()
        other.join(timeout=10)
        assert answers == [
            f"{folder} is being trained by another process; wait for it, or choose another `output`"
        ]
        assert names(folder) == [".lock"]
        holder.kill()
    with files.locked(folder):
        (folder / "a").touch()
    assert names(folder) == ["a"]


def test_a_folder_that_stays_empty_goes_with_those_that_were_made_for_it(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with files.locked(tmp_path / "there" / "a" / "b"):
        assert (tmp_path / "there" / "a" / "b").is_dir()
    assert names(tmp_path / "there") == []
    with files.locked(tmp_path / "there"):
        pass
    assert (tmp_path / "there").is_dir()


YAML: dict[str, tuple[str, str]] = {
    "empty": ("", "no file of settings"),
    "list": ("- 1\n- 2\n", "no file of settings"),
    "text": ("digits", "no file of settings"),
    "numbers": ("1: 2\n", "no file of settings"),
    "tag": ("data: !!python/object/apply:os.system ['touch canary']\n", "could not determine"),
    "own tag": ("data: !mine x\n", "could not determine a constructor"),
    "twice": ("lr: 1\nsteps: 3\nlr: 2\n", "sets lr twice; keep one"),
    "alias": ("a: &a [x, x]\nb: [*a, *a]\n", "has an alias"),
    "bomb": (
        "a: &a x\n" + "".join(f"{b}: &{b} [{f'*{a}, ' * 9}]\n" for a, b in pairwise("abcdefghij")),
        "has an alias",
    ),
    "anchor alone": ("a: &a 1\n", "has an alias"),
    "brackets": ("a: " + "[" * 90_000, "more than 20 brackets"),
    "21 brackets": ("a: " + "[" * 11 + "{b: " * 10, "more than 20 brackets in each other"),
    "merged": ("<<: {a: 1}\nb: 2\n", "merges other settings in"),
    "tabs": ("a:\n\t- b", "cannot start any token"),
    "open": ("a: [1, 2", "no file of settings in YAML"),
    "two": ("a: 1\n---\na: 2\n", "no file of settings in YAML"),
    "long": ("a: " + "x" * 100_001, "more than 100,000 bytes"),
    "date": ("a: 2026-13-45\n", "no file of settings in YAML"),
}


@pytest.mark.parametrize("name", YAML)
def test_what_is_no_file_of_settings_is_refused(name: str, tmp_path: Path) -> None:
    text, message = YAML[name]
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as refusal:
        read_yaml(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("name", ["tag", "bomb", "twice"])
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_the_command_line_refuses_it_before_it_reads_it(
    command: str,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.yaml").write_text(YAML[name][0])
    assert main([command, "--config", "settings.yaml", "--output", "run"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("iavit: settings.yaml ")
    assert line.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["settings.yaml"]


def test_settings_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("data: digits\nlr: 0.5\nroot: null\n")
    assert read_yaml(tmp_path / "s.yaml") == {"data": "digits", "lr": 0.5, "root": None}
    (tmp_path / "s.yaml").write_text("a: " + "[" * 20 + "]" * 20 + "\nb: {c: [1], d: [2]}")
    assert read_yaml(tmp_path / "s.yaml")["b"] == {"c": [1], "d": [2]}
    (tmp_path / "s.yaml").write_text("a: " + "x" * (100_000 - 3))
    assert len(read_yaml(tmp_path / "s.yaml")["a"]) == 100_000 - 3
    (tmp_path / "s.yaml").write_text("a: " + str([[]] * 30))
    assert read_yaml(tmp_path / "s.yaml") == {"a": [[]] * 30}  # beside, not in each other
    with pytest.raises(UserError, match=r"none\.yaml cannot be read"):
        read_yaml(tmp_path / "none.yaml")


def test_settings_are_written_as_a_person_would_write_them(tmp_path: Path) -> None:
    values = {"data": "digits", "root": "1e5", "precision": "32", "lr": 0.5, "steps": None}
    path = tmp_path / "settings.yaml"
    files.write_yaml(path, values)
    assert path.read_text() == (
        "data: digits\nroot: '1e5'\nprecision: '32'\nlr: 0.5\nsteps: null\n"
    )
    assert read_yaml(path) == values
