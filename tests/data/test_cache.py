from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from iavit.data import cache as caching
from iavit.data.augment import Draw
from iavit.data.cache import open_cache
from iavit.data.decoding import decode_file
from iavit.data.on_disk import FromFiles
from iavit.errors import UserError
from tests.data.files import folder, save, truncate
from tests.data.sources import opened, refusal, spoilt


def test_a_cache_of_squares_changes_nothing(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"a": 10, "b": 10}, (40, 30))
    for number, path in enumerate(sorted(root.glob("*/*.png"))):
        save(path, size=(40, 30 + number), grain=number + 1)
    plain, cached = opened(root), opened(root, cache=str(tmp_path / "cache"))
    for one, two in ((plain.train, cached.train), (plain.val, cached.val)):
        everything = range(len(one))
        assert torch.equal(one[everything].images, two[everything].images)
    assert torch.equal(cached.train.chosen(torch.arange(3))[[2]].images, plain.train[[2]].images)


def test_a_cache_for_crops_keeps_whole_pictures_with_a_margin(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"a": 10, "b": 10})
    for number, path in enumerate(sorted(root.glob("*/*.png"))):
        save(path, size=(90, 60), grain=number + 1)
    splits = opened(root, cache=str(tmp_path / "cache"), augment="authors")
    assert isinstance(splits.train, FromFiles)
    assert splits.train.cache is not None
    assert splits.train.cache[0].shape == (18, 27, 3)
    views = splits.train[Draw([0, 1, 2], 5)].images
    assert torch.equal(views, splits.train[Draw([0, 1, 2], 5)].images)


def test_a_small_or_turned_picture_is_kept_as_it_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, small = tmp_path / "turned.jpg", save(tmp_path / "small.png", 9, (5, 3))
    Image.new("RGB", (60, 30)).save(turned, exif=exif)
    files = [str(turned), str(small)]
    folder = tmp_path / "not" / "yet"
    cache = open_cache(files, 7, folder, whole=True, threads=2, skip=False)
    assert isinstance(cache.pixels, np.memmap)  # read where it is looked at
    assert cache[0].shape == (16, 8, 3)
    assert cache[1].shape == (3, 5, 3)
    assert (cache[1] == 9).all()


def test_a_cache_is_made_once_and_again_when_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(save(tmp_path / f"{number}.png", number)) for number in range(3)]
    decoded: list[str] = []

    def noted(path: str, pixel_range: None) -> Image.Image:
        decoded.append(path)
        return decode_file(path)

    monkeypatch.setattr(caching, "decode_file", noted)

    def again(paths: list[str], size: int = 8) -> np.ndarray:
        decoded.clear()
        cache = open_cache(paths, size, tmp_path / "c", whole=False, threads=1, skip=False)
        return np.array([cache[number][0, 0, 0] for number in range(len(paths))])

    assert again(files).tolist() == [0, 1, 2]
    assert len(decoded) == 3
    assert again(files).tolist() == [0, 1, 2]
    assert not decoded
    save(Path(files[1]), 77, (20, 20))
    assert again(files).tolist() == [0, 77, 2]
    assert again(files[::-1]).tolist() == [2, 77, 0]
    again(files, size=9)
    assert len(decoded) == 3
    made = {path.name.partition(".")[0] for path in (tmp_path / "c").iterdir()}
    assert len(made) == 4  # of these files, one changed, another order, and another size
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in made)  # found by later versions


def test_a_cache_that_fails_leaves_nothing_half_written(tmp_path: Path) -> None:
    files = [str(save(tmp_path / "one.png")), str(truncate(tmp_path / "odd.jpg"))]
    with pytest.raises(UserError, match=r"odd\.jpg is damaged"):
        open_cache(files, 8, tmp_path / "c", whole=True, threads=1, skip=False)
    assert not list((tmp_path / "c").iterdir())
    cache = open_cache(files, 8, tmp_path / "c", whole=True, threads=1, skip=True)
    assert cache.places[:, 1].tolist() == [8, 0]
    with pytest.raises(UserError, match=r"odd\.jpg is damaged"):  # made with it left out
        open_cache(files, 8, tmp_path / "c", whole=True, threads=1, skip=False)


def test_a_cache_that_has_no_room_or_no_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "set", {"a": 4, "b": 4})
    (tmp_path / "file").touch()
    assert "`cache`" in refusal(root, cache=str(tmp_path / "file"))
    free = type("Usage", (), {"free": 10})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    assert "GB free" in refusal(root, cache=str(tmp_path / "cache"))
    monkeypatch.setattr(free, "free", 2_300_000_000)
    caching._check_space(tmp_path, 2_300_000_000)
    with pytest.raises(UserError, match=r"has 2\.3 GB free and needs 4\.7; choose another"):
        caching._check_space(tmp_path, 4_700_000_000)


def test_left_out_files_and_the_cache_go_together(tmp_path: Path) -> None:
    splits = opened(spoilt(tmp_path / "set"), bad_images="skip", cache=str(tmp_path / "cache"))
    for images in (splits.train, splits.val, splits.test):
        assert len(images[range(len(images))]) == len(images)
    left_out = splits.train.left_out + splits.val.left_out + splits.test.left_out
    assert len(left_out) == 3
