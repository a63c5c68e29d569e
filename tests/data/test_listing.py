"""Which files are the same picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from iavit.data import listing
from iavit.data.listing import Listing, listed_once, pictures
from iavit.errors import UserError
from tests.data.files import save


def listed(*files: tuple[Path, int]) -> Listing:
    return Listing(
        tuple(str(path) for path, _ in files), torch.tensor([label for _, label in files])
    )


def test_a_file_is_used_once_by_whatever_name(tmp_path: Path) -> None:
    one, two = save(tmp_path / "one.png"), save(tmp_path / "two.png")
    link = tmp_path / "link.png"
    link.symlink_to(one)
    again = tmp_path / "." / "x" / ".." / "one.png"
    (tmp_path / "x").mkdir()
    found = listed_once(listed((one, 0), (two, 1), (again, 0), (link, 0), (two, 1)), ("a", "b"))
    assert found.paths == (str(one), str(two))
    assert found.labels.tolist() == [0, 1]
    assert found.remarks == ("3 listed again (used once)",)


def test_files_that_differ_are_left_as_they_are(tmp_path: Path) -> None:
    files = listed((save(tmp_path / "one.png"), 0), (save(tmp_path / "two.png"), 1))
    assert listed_once(files, ("a", "b")) is files


def test_one_file_with_two_labels_is_refused(tmp_path: Path) -> None:
    one = save(tmp_path / "one.png")
    with pytest.raises(UserError, match=r"one\.png is listed as cat and as dog"):
        listed_once(listed((one, 0), (one, 1)), ("cat", "dog"))


def test_files_that_are_missing_are_known_by_their_names() -> None:
    files = listed((Path("/gone/a.png"), 0), (Path("/gone/b.png"), 0), (Path("/gone/a.png"), 0))
    assert len(listed_once(files, ("a",))) == 2


def test_copies_are_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save(tmp_path / f"{n}.png", 10 * n) for n in range(3)]
    copy = Path(shutil.copy(paths[1], tmp_path / "copy.png"))
    names = [str(path) for path in (*paths, copy)]
    assert pictures(names).tolist() == [0, 1, 2, 1]
    monkeypatch.setattr(listing, "COMPARED_BYTES", 0)  # as where that would take too long
    assert pictures(names).tolist() == [0, 1, 2, 3]
    (tmp_path / "hard.png").hardlink_to(paths[0])
    assert pictures([*names, str(tmp_path / "hard.png")]).tolist() == [0, 1, 2, 3, 0]
    assert pictures([]).tolist() == []
