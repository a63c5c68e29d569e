from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from iavit.config import Config, DataConfig, ModelConfig, TrainingConfig
from iavit.data import cache as caching
from iavit.data.augment import Draw
from iavit.data.cache import open_cache
from iavit.data.datasets import load_dataset
from iavit.data.decoding import decode_file
from iavit.data.images import Splits
from iavit.data.loaders import evaluation_loader
from iavit.data.on_disk import FromFiles
from iavit.errors import UserError
from iavit.training.datamodule import DataModule
from iavit.training.directory import add_bad_images, bad_images
from iavit.training.run import train
from iavit.training.task import Task
from iavit.types import Batch
from tests.data.files import folder, save, truncate


def configured(root: Path, name: str = "folder", **options: object) -> Config:
    data = replace(DataConfig(name, str(root), batch_size=4), **options)  # type: ignore[arg-type]
    return Config(data, ModelConfig(backbone="vit_digits", img_size=16))


def opened(root: Path, name: str = "folder", **options: object) -> Splits:
    return load_dataset(configured(root, name, **options))


def names(images: object) -> list[str]:
    assert isinstance(images, FromFiles)
    return [f"{Path(path).parent.name}/{Path(path).name}" for path in images.listing.paths]


def refusal(root: Path, name: str = "folder", **options: object) -> str:
    def read() -> object:
        splits = opened(root, name, **options)
        return splits.train, splits.val, splits.test

    with pytest.raises(UserError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


def test_a_picture_is_what_the_model_is_shown(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(4):
            save(tmp_path / name / f"{number}.png", 50, (30, 20))
    batch = opened(tmp_path).train[[0, 1]]
    assert batch.images.shape == (2, 3, 16, 16)
    restored = opened(tmp_path).normalisation.restore(batch.images)
    assert (restored == 50).all()
    assert batch.evidence is None


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


def test_folders_that_cannot_be_used_are_told_in_one_line(tmp_path: Path) -> None:
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "flat").mkdir()
    save(tmp_path / "flat" / "one.png")
    assert "no subfolders" in refusal(tmp_path / "flat")
    assert "one class only" in refusal(folder(tmp_path / "single", {"all": 5}))
    assert "none has no images" in refusal(folder(tmp_path / "hollow", {"a": 4, "none": 0}))
    folder(tmp_path / "strange" / "train", {"a": 4, "b": 4})
    folder(tmp_path / "strange" / "test", {"c": 4})
    assert "lacks: c" in refusal(tmp_path / "strange")
    assert "'train'" in refusal(folder(tmp_path / "part" / "test", {"a": 2, "b": 2}).parent)
    assert "too few" in refusal(folder(tmp_path / "few", {"a": 1, "b": 1}))
    with pytest.raises(UserError, match="--root"):
        load_dataset(Config(data=DataConfig("folder")))


def spoilt(root: Path) -> Path:
    """Ten images a class of which one has no header, one no end, and one is empty."""
    folder(root, {"a": 10, "b": 10})
    (root / "a" / "0.png").write_text("I am a picture, honestly")
    truncate(root / "b" / "odd \n.jpg")
    (root / "b" / "empty.png").touch()
    return root


def test_an_unreadable_file_stops_with_its_name(tmp_path: Path) -> None:
    assert "0.png is no image" in refusal(spoilt(tmp_path))


def test_a_truncated_file_is_named_when_it_is_decoded(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": 10, "b": 10})
    truncate(root / "a" / "odd.jpg")
    splits = opened(root)
    images = next(s for s in (splits.train, splits.val, splits.test) if "a/odd.jpg" in names(s))
    with pytest.raises(UserError, match=r"odd\.jpg is damaged"):
        _ = images[range(len(images))]


def test_unreadable_files_are_left_out_and_named(tmp_path: Path) -> None:
    splits = opened(spoilt(tmp_path), bad_images="skip")
    named: set[str] = set()
    for images in (splits.train, splits.val, splits.test):
        batch = images[Draw(list(range(len(images))), 0)]
        named |= set(images.left_out) | set(batch.left_out)
        assert len(batch) + len(batch.left_out) == len(images)
    assert {Path(path).name for path in named} == {"0.png", "odd \n.jpg", "empty.png"}


def test_evaluation_images_keep_their_indices(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        folder(tmp_path / split, {"a": 3, "b": 3})
    truncate(tmp_path / "test" / "a" / "00.jpg")
    images = opened(tmp_path, bad_images="skip").test
    assert len(images) == 6
    assert len(images.left_out) == 1
    loaded = list(evaluation_loader(images, 4))
    assert [len(batch) for batch in loaded] == [4, 2]


def test_a_batch_of_unreadable_files_takes_the_next_that_can_be_read(tmp_path: Path) -> None:
    for split in ("train", "val"):
        folder(tmp_path / split, {"a": 2, "b": 2})
    truncate(tmp_path / "train" / "a" / "00.jpg")
    images = opened(tmp_path, bad_images="skip").train
    first = names(images).index("a/00.jpg")
    batch = images[Draw([first], 0)]
    assert len(batch) == 1
    assert len(batch.left_out) == 1


def test_nothing_readable_is_told(tmp_path: Path) -> None:
    root = folder(tmp_path, {"a": 3, "b": 3})
    for path in root.glob("*/*.png"):
        path.write_text("no")
    assert "none of the" in refusal(root, bad_images="skip")


def test_bad_images_are_listed_once_a_line(tmp_path: Path) -> None:
    assert bad_images(tmp_path) == []
    add_bad_images(tmp_path, [])
    assert not (tmp_path / "bad_images.txt").exists()
    add_bad_images(tmp_path, ["b\nc.png", "é a.png", "x\udcff.png"])
    add_bad_images(tmp_path, ["é a.png", "back\\slash.png"])
    assert bad_images(tmp_path) == ["b\\nc.png", "x\\udcff.png", "é a.png", "back\\\\slash.png"]


@pytest.mark.parametrize("augment", ["none", "modern"])
@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_with_processes_give_the_same_batches(
    tmp_path: Path, augment: str, workers: int
) -> None:
    config = configured(folder(tmp_path, {"a": 12, "b": 12}), augment=augment, workers=workers)
    module = DataModule(load_dataset(config), config, batches=6)
    alone = DataModule(
        load_dataset(config), replace(config, data=replace(config.data, workers=0)), 6
    )
    for one, two in zip(module.train_dataloader(), alone.train_dataloader(), strict=True):
        assert torch.equal(one.images, two.images)
    assert sum(len(batch) for batch in module.val_dataloader()) == len(module.splits.val)


def test_a_run_on_spoilt_files(tmp_path: Path) -> None:
    config = configured(spoilt(tmp_path / "set"), augment="authors", workers=1)
    config = replace(config, training=TrainingConfig(steps=8, validate_every=4, log_every=4))
    skipping = replace(config, data=replace(config.data, bad_images="skip"))
    train(skipping, tmp_path / "run")
    listed = {line.rsplit("/", 1)[-1] for line in bad_images(tmp_path / "run")}
    test = {Path(path).name for path in load_dataset(skipping).test.left_out}
    assert listed | test == {"0.png", "odd \\n.jpg", "empty.png"} | test


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_the_views_it_would_have_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    root = folder(tmp_path / "set", {"a": 12, "b": 12}, (40, 30))
    config = configured(root, augment="modern", workers=workers)
    config = replace(config, training=TrainingConfig(steps=9, validate_every=3, log_every=3))
    whole = Task.training_step
    seen: dict[int, torch.Tensor] = {}

    def noted(self: Task, batch: Batch, batch_idx: int) -> torch.Tensor:
        if self.global_step == stop:
            raise InterruptedError
        before = seen.setdefault(self.global_step, batch.images)
        assert torch.equal(before, batch.images)
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", noted)
    stop = -1
    train(config, tmp_path / "whole")
    stop = 5
    with pytest.raises(InterruptedError):
        train(config, tmp_path / "stopped")
    stop = -1
    train(config, tmp_path / "stopped", resume=True)
    names = "model/model.safetensors"
    assert (tmp_path / "stopped" / names).read_bytes() == (tmp_path / "whole" / names).read_bytes()
    assert len({images.sum().item() for images in seen.values()}) == 9  # no view comes twice


def test_a_mistake_in_a_loading_process_is_told_in_one_line(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        folder(tmp_path / split, {"a": 4, "b": 4})
    truncate(tmp_path / "train" / "a" / "odd.jpg")
    config = configured(tmp_path, workers=1)
    config = replace(config, training=TrainingConfig(steps=8, validate_every=4, log_every=4))
    with pytest.raises(UserError, match=r"^\S*odd\.jpg is damaged") as caught:
        train(config, tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_cache_of_squares_changes_nothing(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"a": 10, "b": 10}, (40, 30))
    for number, path in enumerate(sorted(root.glob("*/*.png"))):
        save(path, size=(40, 30 + number), grain=number + 1)
    plain, cached = opened(root), opened(root, cache=str(tmp_path / "cache"))
    for one, two in ((plain.train, cached.train), (plain.val, cached.val)):
        everything = range(len(one))
        assert torch.equal(one[everything].images, two[everything].images)
    assert torch.equal(cached.train.first(3)[[2]].images, plain.train[[2]].images)


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
    cache = open_cache(files, 7, tmp_path / "cache", whole=True, threads=2, skip=False)
    assert cache[0].shape == (16, 8, 3)
    assert cache[1].shape == (3, 5, 3)
    assert (cache[1] == 9).all()


def test_a_cache_is_made_once_and_again_when_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(save(tmp_path / f"{number}.png", number)) for number in range(3)]
    decoded: list[str] = []

    def noted(path: str) -> Image.Image:
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
    assert not [path for path in (tmp_path / "c").iterdir() if path.name.endswith(".tmp")]


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
    assert "--cache" in refusal(root, cache=str(tmp_path / "file"))
    free = type("Usage", (), {"free": 10})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    assert "GB free" in refusal(root, cache=str(tmp_path / "cache"))


def test_left_out_files_and_the_cache_go_together(tmp_path: Path) -> None:
    splits = opened(spoilt(tmp_path / "set"), bad_images="skip", cache=str(tmp_path / "cache"))
    for images in (splits.train, splits.val, splits.test):
        assert len(images[range(len(images))]) == len(images)
    left_out = splits.train.left_out + splits.val.left_out + splits.test.left_out
    assert len(left_out) == 3


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
