"""The line that a training begins with, of every kind of source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from iavit.config import Config
from iavit.data.datasets import load_dataset
from iavit.data.summary import describe
from tests.data.files import folder, save, truncate
from tests.data.sources import opened


def test_digits() -> None:
    line = describe(load_dataset(Config()))
    assert line == (
        "10 classes (0, 1, 2, 3, 4, 5 and 4 more); images: 96 training, 60 validation, 60 test; "
        "32 pixels a side"
    )


def test_a_folder_tells_what_was_left_out_and_why(tmp_path: Path) -> None:
    root = folder(tmp_path, {"cat\x1b[31m": 10, "dog": 10}, (30, 20))
    for number in range(20):
        (root / "dog" / f"{number}.raw").touch()
    (root / "dog" / "Thumbs.db").touch()
    truncate(root / "dog" / "odd.jpg")
    deep = np.full((9, 9), 300, dtype=np.uint16)
    Image.fromarray(deep).save(root / "dog" / "deep.png")
    line = describe(opened(root, bad_images="skip", pixel_range="0,1000"))
    assert line.startswith("2 classes ('cat\\x1b[31m', dog); images: ")
    assert "; 20 .raw, 1 .db left out; 9 to 64 pixels a side" in line
    assert "1 I;16 greys read from 0 to 1000" in line
    assert line.count("pixels a side") == 1  # of both splits together
    assert "\n" not in line
    assert "\x1b" not in line


def test_sides_and_deep_greys_are_those_of_training_and_validation_together(
    tmp_path: Path,
) -> None:
    for split, size in {"train": (40, 30), "val": (20, 50), "test": (5, 90)}.items():
        folder(tmp_path / split, {"a": 2, "b": 2}, size)
        deep = np.full((size[1], size[0]), 300, dtype=np.uint16)
        Image.fromarray(deep).save(tmp_path / split / "a" / f"deep-{split}.png")
    assert describe(opened(tmp_path)) == (
        "2 classes (a, b); images: 5 training, 5 validation, 5 test; 20 to 50 pixels a side; "
        "2 I;16 greys read from 0 to 65535"
    )


def test_a_table_tells_its_groups_and_masks(tmp_path: Path) -> None:
    rows = ["image,label,group,mask"]
    for number in range(20):
        save(tmp_path / f"{number}.png", number)
        rows.append(f"{number}.png,{number % 2},{'old' if number % 3 else 'young'},mask.png")
    rows.append(rows[1])
    Image.new("L", (12, 8), 255).save(tmp_path / "mask.png")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    line = describe(opened(tmp_path / "table.csv", "table"))
    assert line == (
        "2 classes (0, 1); images: 14 training, 2 validation, 4 test; 2 groups by group; "
        "1 listed again (used once); 8 to 12 pixels a side; "
        "14 of 14 train masks mark everything of their image; "
        "2 of 2 val masks mark everything of their image"
    )
