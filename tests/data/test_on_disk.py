from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from iavit.config import TrainingConfig
from iavit.data.augment import Draw
from iavit.data.datasets import load_dataset
from iavit.data.loaders import evaluation_loader
from iavit.data.on_disk import Pixels, pixel_remarks, read_mask
from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.training.datamodule import DataModule
from iavit.training.directory import bad_images
from iavit.training.run import train
from iavit.training.task import Task
from iavit.types import Batch
from tests.data.files import folder, save, truncate
from tests.data.sources import configured, names, opened, refusal, spoilt


def test_a_picture_is_what_the_model_is_shown(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(4):
            save(tmp_path / name / f"{number}.png", 50, (30, 20))
    batch = opened(tmp_path).train[[0, 1]]
    assert batch.images.shape == (2, 3, 16, 16)
    restored = opened(tmp_path).normalisation.restore(batch.images)
    assert (restored == 50).all()
    assert batch.evidence is None


def test_what_the_pixels_of_all_splits_are_is_told() -> None:
    train, val = Pixels(3, 7, Counter({"F": 2, "I;16": 1200})), Pixels(5, 9, Counter({"F": 1}))
    assert pixel_remarks([train, val], Normalisation()) == (
        "3 to 9 pixels a side",
        "3 F greys read from 0 to 1",
        "1,200 I;16 greys read from 0 to 65535",
    )
    named = Normalisation(pixel_range=(5, 4095))
    assert pixel_remarks([val], named)[1] == "1 F greys read from 5 to 4095"
    assert pixel_remarks([Pixels(6, 6, Counter())], named) == ("6 pixels a side",)
    assert pixel_remarks([], named) == ()


def test_a_mask_is_cropped_as_its_image_is(tmp_path: Path) -> None:
    mask = Image.new("L", (8, 4))
    mask.putpixel((0, 1), 255)  # beside the square
    mask.putpixel((3, 2), 1)
    mask.save(tmp_path / "mask.png")
    assert read_mask(str(tmp_path / "mask.png"), 4).nonzero().tolist() == [[2, 1]]
    assert read_mask(str(tmp_path / "mask.png"), 8).nonzero().tolist() == [
        [4, 2], [4, 3], [5, 2], [5, 3]
    ]  # fmt: skip
    nothing = read_mask("", 3)
    assert nothing.shape == (3, 3)
    assert nothing.dtype is torch.bool
    assert not nothing.any()


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
        path.write_text(f"no {path}")
    assert "none of the" in refusal(root, bad_images="skip")


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


class StoppedError(Exception):
    """Ends a run in its middle."""


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
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
            raise StoppedError
        before = seen.setdefault(self.global_step, batch.images)
        assert torch.equal(before, batch.images)
        return whole(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", noted)
    stop = -1
    train(config, tmp_path / "whole")
    stop = 5
    with pytest.raises(StoppedError):
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
