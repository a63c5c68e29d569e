"""Listed files as three splits that share no picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from iavit.config import DataConfig
from iavit.data.file_splits import divide
from iavit.data.images import Request, Split
from iavit.data.listing import Listing
from tests.data.files import folder, save
from tests.data.sources import names, opened, refusal

REQUEST = Request(DataConfig("folder", "there"))


def contents(listing: Listing) -> set[bytes]:
    return {Path(path).read_bytes() for path in listing.paths}


def listed(paths: list[Path]) -> Listing:
    return Listing(tuple(map(str, paths)), torch.arange(len(paths)) % 2)


def test_splits_that_are_held_out_share_no_picture(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{n}.png", n) for n in range(20)]
    for number in range(10):  # a copy of every second picture of either class
        copy = shutil.copy(paths[number], tmp_path / f"copy {number}.png")
        paths.append(Path(copy))
    splits = divide({"train": listed(paths)}, REQUEST)
    assert sum(len(listing) for listing in splits.values()) == 30
    parts = [contents(splits[split]) for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 20
    assert len(parts[2]) == 4
    assert len(parts[1]) == 2


def test_a_given_test_picture_is_not_trained_on(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{n}.png", n) for n in range(8)]
    test = [Path(shutil.copy(path, tmp_path / f"test {path.name}")) for path in paths[:2]]
    val = [save(tmp_path / "val 0.png", 7), save(tmp_path / "val 1.png", 7)]
    given: dict[Split, Listing] = {"train": listed(paths), "val": listed(val), "test": listed(test)}
    splits = divide(given, REQUEST)
    assert splits["test"].paths == given["test"].paths
    assert splits["val"].paths == given["val"].paths
    assert splits["train"].paths == given["train"].paths[2:]
    assert splits["train"].remarks == ("2 of train that are in another split",)


def test_a_file_in_two_class_folders_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": 4, "b": 4})
    (root / "b" / "again.png").symlink_to(root / "a" / "0.png")
    assert "again.png is listed as a and as b" in refusal(root)


def test_what_was_found_is_told_once(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": 10, "b": 10})
    (root / "a" / "again.png").symlink_to(root / "a" / "0.png")
    (root / "b" / "notes.txt").touch()
    splits = opened(root)
    assert splits.test_count() == 4
    assert len(names(splits.train)) == 14
    assert splits.remarks() == (
        "1 .txt left out",
        "1 listed again (used once)",
        "8 to 12 pixels a side",
    )
