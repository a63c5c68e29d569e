from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from iavit.config import Config, DataConfig, TrainingConfig
from iavit.data import folders
from iavit.data.datasets import load_dataset
from iavit.data.summary import describe
from iavit.errors import UserError
from tests.data.files import folder, save
from tests.data.sources import configured, names, opened, refusal


def test_missing_splits_are_taken_class_by_class(tmp_path: Path) -> None:
    splits = opened(folder(tmp_path, {"cats": 20, "dogs": 10}))
    assert splits.classes == ("cats", "dogs")
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [21, 3, 6]
    together = names(splits.train) + names(splits.val) + names(splits.test)
    assert len(set(together)) == 30
    assert splits.test[range(6)].labels.tolist() == [0] * 4 + [1] * 2


def test_the_test_images_do_not_depend_on_the_seed_of_a_run(tmp_path: Path) -> None:
    config = configured(folder(tmp_path, {"cats": 30, "dogs": 30}))
    other = load_dataset(replace(config, training=TrainingConfig(seed=5)))
    assert names(load_dataset(config).test) == names(other.test)
    assert names(load_dataset(config).val) != names(other.val)


@pytest.mark.parametrize("valid", ["val", "valid", "Validation"])
def test_split_folders_are_taken_as_they_are(tmp_path: Path, valid: str) -> None:
    for split, count in (("train", 5), (valid, 3), ("test", 2)):
        folder(tmp_path / split, {"a": count, "b": count})
    splits = opened(tmp_path)
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [10, 6, 4]


def test_with_train_and_test_only_validation_comes_out_of_train(tmp_path: Path) -> None:
    folder(tmp_path / "train", {"a": 10, "b": 10})
    folder(tmp_path / "test", {"a": 2, "b": 2})
    splits = opened(tmp_path)
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [18, 2, 4]


def test_names_may_hold_spaces_unicode_and_line_breaks(tmp_path: Path) -> None:
    for name in ("a b", "é 图\nb"):
        for number in range(4):
            save(tmp_path / name / f"{number} ü\n.png")
    splits = opened(tmp_path)
    assert splits.classes == ("a b", "é 图\nb")
    assert len(splits.train[range(len(splits.train))]) == len(splits.train)


def test_what_is_no_image_by_its_ending_or_hidden_is_no_part_of_it(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": 4, "b": 4})
    (root / "a" / "Thumbs.db").write_text("x")
    (root / "a" / ".hidden.png").write_text("x")
    (root / ".cache").mkdir()
    save(root / "b" / "deeper" / "one.PNG")
    splits = opened(root)
    assert splits.classes == ("a", "b")
    assert sum(len(s) for s in (splits.train, splits.val, splits.test)) == 9


def test_numbered_classes_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    splits = opened(folder(tmp_path / "numbers", {"10": 4, "9": 4, "2": 4, "010": 4}))
    assert splits.classes == ("2", "9", "010", "10")
    assert opened(folder(tmp_path / "names", {"b10": 4, "b9": 4})).classes == ("b10", "b9")


def test_what_macos_adds_to_an_archive_is_no_class(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": 4, "b": 4})
    save(root / "__MACOSX" / "a" / "._0.png")
    save(root / "a" / "__MACOSX" / "._0.png")
    splits = opened(root)
    assert splits.classes == ("a", "b")
    assert sum(len(s) for s in (splits.train, splits.val, splits.test)) == 8


def test_linked_folders_are_followed_once_and_not_in_circles(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"a": 4, "b": 4})
    sessions = folder(tmp_path / "sessions", {"monday": 5, "tuesday": 6})
    for number, path in enumerate(sorted(sessions.glob("*/*.png"))):
        save(path, number)
    (root / "a" / "monday").symlink_to(sessions / "monday")
    (root / "b" / "tuesday").symlink_to(sessions / "tuesday")
    (root / "b" / "again").symlink_to(sessions / "tuesday")
    (root / "a" / "circle").symlink_to(root / "a")
    splits = opened(root)
    labels = [s[range(len(s))].labels for s in (splits.train, splits.val, splits.test)]
    assert sum(int((part == 0).sum()) for part in labels) == 4 + 5
    assert sum(int((part == 1).sum()) for part in labels) == 4 + 6


def test_pictures_beside_the_class_folders_are_counted(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": 4, "b": 4})
    save(root / "one.png")
    save(root / "two.jpg")
    splits = opened(root)
    assert "2 beside the class folders left out" in splits.remarks()
    assert sum(len(s) for s in (splits.train, splits.val, splits.test)) == 8


@pytest.mark.parametrize("place", ["", "train"])
def test_pictures_without_subfolders_are_a_set_without_labels(tmp_path: Path, place: str) -> None:
    for number in range(20):
        save(tmp_path / place / f"{number}.png")
    (tmp_path / place / "notes.txt").touch()
    splits = opened(tmp_path)
    assert splits.classes == ()
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [14, 2, 4]
    assert splits.train[range(14)].labels.tolist() == [-1] * 14
    line = describe(splits)
    assert line.startswith("no labels; images: 14 training, 2 validation, 4 test; ")
    assert "1 .txt left out" in line


def test_a_class_of_files_that_cannot_be_read_says_which(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": 4, "b": 0})
    (root / "b" / "one.raw").touch()
    assert "b has no images, only 1 .raw; add some" in refusal(root)


def test_the_commonest_other_files_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path, {"a": 4, "b": 4})
    for name in ("1.txt", "2.txt", "3.txt", "1.md", "2.md", "1", "2", "3", "4", "a.xml", "a.yml"):
        (root / "a" / name).touch()
    assert "4 without an ending, 3 .txt, 2 .md, 2 others left out" in opened(root).remarks()
    monkeypatch.setattr(folders, "image_endings", lambda: frozenset({".png"}))
    (root / "b" / "phone.HEIC").touch()
    line = "4 without an ending, 3 .txt, 2 .md, pip install 'iavit[heif]' reads HEIC, 3 others"
    assert f"{line} left out" in opened(root).remarks()


def test_folders_that_cannot_be_used_are_told_in_one_line(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "notes.txt").touch()
    assert "no subfolders" in refusal(tmp_path / "flat")
    assert "one class only" in refusal(folder(tmp_path / "single", {"all": 5}))
    assert "none has no images" in refusal(folder(tmp_path / "hollow", {"a": 4, "none": 0}))
    folder(tmp_path / "strange" / "train", {"a": 4, "b": 4})
    folder(tmp_path / "strange" / "test", {"c": 4})
    assert "lacks: c" in refusal(tmp_path / "strange")
    assert "'train'" in refusal(folder(tmp_path / "part" / "test", {"a": 2, "b": 2}).parent)
    assert "too few" in refusal(folder(tmp_path / "few", {"a": 1, "b": 1}))
    with pytest.raises(UserError, match="`root`"):
        load_dataset(Config(data=DataConfig("folder")))


@pytest.mark.parametrize("layout", ["train", "PetImages", "."])
def test_dogs_vs_cats_in_both_layouts(tmp_path: Path, layout: str) -> None:
    for number in range(10):
        for pet in ("cat", "dog"):
            name = f"{pet.capitalize()}/{number}.jpg"
            if layout != "PetImages":
                name = f"{pet}.{number}.jpg"
            save(tmp_path / layout / name, 10)
    save(tmp_path / "test1" / "1.jpg")
    splits = opened(tmp_path, "dogs_vs_cats")
    assert splits.classes == ("cat", "dog")
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [14, 2, 4]
    assert splits.test[range(4)].labels.tolist() == [0, 0, 1, 1]


def test_dogs_vs_cats_elsewhere_says_what_to_unpack(tmp_path: Path) -> None:
    assert "kaggle" in refusal(tmp_path, "dogs_vs_cats")
    save(tmp_path / "cat.0.jpg")
    assert "no dog" in refusal(tmp_path, "dogs_vs_cats")
