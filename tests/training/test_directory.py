from __future__ import annotations

from pathlib import Path

from iavit.training.directory import add_bad_images, bad_images


def test_bad_images_are_listed_once_a_line(tmp_path: Path) -> None:
    assert bad_images(tmp_path) == []
    add_bad_images(tmp_path, [])
    assert not (tmp_path / "bad_images.txt").exists()
    add_bad_images(tmp_path, ["b\nc.png", "é a.png", "x\udcff.png"])
    add_bad_images(tmp_path, ["é a.png", "back\\slash.png"])
    assert bad_images(tmp_path) == ["b\\nc.png", "x\\udcff.png", "é a.png", "back\\\\slash.png"]
