from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch

from iavit.config import Config, DataConfig, ModelConfig, TrainingConfig
from iavit.data import shard_index, shards
from iavit.data.augment import Draw
from iavit.data.datasets import load_dataset
from iavit.data.images import Splits
from iavit.data.loaders import evaluation_loader
from iavit.data.order import ShardOrder
from iavit.data.shards import Shards
from iavit.errors import UserError
from iavit.training.datamodule import DataModule
from tests.data.files import png, shard


def write(root: Path, names: dict[str, int]) -> Path:
    """Shards of so many samples; a sample's grey is its number, its class that modulo 3."""
    number = 0
    for name, count in names.items():
        samples = [(f"s{n:04}", n % 3, png(n)) for n in range(number, number + count)]
        shard(root / name, samples)
        number += count
    return root


def configured(root: Path | str, **options: object) -> Config:
    data = replace(DataConfig("shards", str(root), batch_size=4), **options)  # type: ignore[arg-type]
    return Config(data, ModelConfig("vit_digits", img_size=8), training=TrainingConfig(seed=1))


def opened(root: Path | str, **options: object) -> Splits:
    return load_dataset(configured(root, **options))


def refusal(root: Path | str) -> str:
    def read() -> object:
        splits = opened(root)
        return [images[[0]] for images in (splits.train, splits.val, splits.test)]

    with pytest.raises(UserError) as caught:
        read()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "CHUNK", 3)


def greys(splits: Splits, images: object) -> list[int]:
    assert isinstance(images, Shards)
    batch = images[range(len(images))]
    return [int(v) for v in splits.normalisation.restore(batch.images)[:, 0, 0, 0]]


def test_samples_are_read_in_sequence(tmp_path: Path, small_chunks: None) -> None:
    names = {"train-00.tar": 7, "train-01.tar": 5, "val-00.tar": 4, "test-00.tar": 10}
    splits = opened(write(tmp_path, names))
    assert splits.classes == ("0", "1", "2")
    assert greys(splits, splits.train) == list(range(12))
    assert greys(splits, splits.val) == list(range(12, 16))
    assert greys(splits, splits.test) == list(range(16, 26))
    assert splits.test[[9, 0, 4]].labels.tolist() == [(16 + n) % 3 for n in (9, 0, 4)]
    assert greys(splits, splits.test.chosen(torch.arange(2))) == [16, 17]
    assert [len(batch) for batch in evaluation_loader(splits.test, 4)] == [4, 4, 2]


def test_a_pattern_names_shards_and_whole_shards_are_held_out(tmp_path: Path) -> None:
    write(tmp_path, {f"part-{number:02}.tar": 4 for number in range(12)})
    splits = opened(f"{tmp_path}/part-{{00..09}}.tar")
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [28, 4, 8]
    seen = [grey for s in (splits.train, splits.val, splits.test) for grey in greys(splits, s)]
    assert sorted(seen) == list(range(40))


def test_what_lies_beside_the_shards_spares_counting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"train-0.tar": 4, "val-0.tar": 3, "test-0.tar": 3})
    sizes = {"train-0.tar": 4, "val-0.tar": 3, "test-0.tar": 4}
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    monkeypatch.setattr(shard_index, "read_shard", lambda *a, **k: pytest.fail("counted"))
    splits = opened(tmp_path)
    assert splits.classes == ("cat", "dog", "owl")
    assert len(splits.train) == 4
    with pytest.raises(UserError, match=r"fewer samples than sizes\.json"):
        _ = splits.test[[3]]


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that are opened, one after another."""
    noted: list[str] = []
    read = shards.read_samples

    def noting(path: str) -> Iterator[dict[str, Any]]:
        noted.append(path)
        return read(path)

    monkeypatch.setattr(shards, "read_samples", noting)
    return noted


def test_a_process_opens_each_of_its_shards_once_a_pass(
    tmp_path: Path, small_chunks: None, opens: list[str]
) -> None:
    write(tmp_path, {"train-0.tar": 7, "train-1.tar": 8, "val-0.tar": 1, "test-0.tar": 1})
    images = opened(tmp_path).train
    assert isinstance(images, Shards)
    for indices in ShardOrder(images.counts, 3, 5, 5, seed=0)(0):
        _ = images[indices]
    assert len(opens) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_the_views_of_their_order(tmp_path: Path, workers: int) -> None:
    write(tmp_path, {f"train-{n}.tar": 5 for n in range(4)} | {"val-0.tar": 3, "test-0.tar": 3})
    config = configured(tmp_path, augment="authors", workers=workers)

    def batches() -> list[torch.Tensor]:
        module = DataModule(load_dataset(config), config, batches=6)
        return [batch.images for batch in module.train_dataloader()]

    assert all(torch.equal(a, b) for a, b in zip(batches(), batches(), strict=True))
    assert len(batches()) == 6


@pytest.mark.parametrize("augment", ["none", "light"])
def test_a_batch_may_have_an_image_of_two_passes(tmp_path: Path, augment: str) -> None:
    """Seven images in batches of sixteen: each is in a batch twice or three times."""
    write(tmp_path, {"train-0.tar": 7, "val-0.tar": 3, "test-0.tar": 3})
    config = configured(tmp_path, batch_size=16, augment=augment)
    splits = load_dataset(config)
    for draw in DataModule(splits, config, batches=3).train_dataloader().sampler:
        batch = splits.train[draw]
        assert batch.images.shape == (16, 3, 8, 8)
        assert len(set(draw.indices)) == 7
        assert batch.labels.tolist() == [index % 3 for index in draw.indices]
        greys = splits.normalisation.restore(batch.images)[:, 0, 4, 4]
        assert greys.tolist() == draw.indices


def test_a_single_shard_is_split_by_samples(tmp_path: Path, small_chunks: None) -> None:
    splits = opened(write(tmp_path, {"pets.tar": 60}))
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [42, 6, 12]
    assert splits.test_count() == 12
    parts = [greys(splits, s) for s in (splits.train, splits.val, splits.test)]
    assert sorted(sum(parts, [])) == list(range(60))  # noqa: RUF017
    assert [sum(grey % 3 == label for grey in parts[2]) for label in range(3)] == [4, 4, 4]
    other = load_dataset(replace(configured(tmp_path), training=TrainingConfig(seed=9)))
    assert greys(other, other.test) == parts[2]
    assert greys(other, other.val) != parts[1]
    assert isinstance(splits.train, Shards)
    assert splits.train.by_shard() == [42]


def test_two_shards_are_both_trained_on(tmp_path: Path) -> None:
    splits = opened(write(tmp_path, {"a.tar": 20, "b.tar": 40}))
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [42, 6, 12]
    assert isinstance(splits.train, Shards)
    kept = splits.train.by_shard()
    assert sum(kept) == 42
    assert min(kept) > 10


def test_a_shard_that_is_split_is_read_once_a_pass(
    tmp_path: Path, opens: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "CHUNK", 16)
    images = opened(write(tmp_path, {"pets.tar": 200})).train
    assert isinstance(images, Shards)
    for indices in ShardOrder(images.by_shard(), 4, 35, 35, seed=0)(0):
        _ = images[indices]
    assert len(opens) == 1


def test_a_sample_without_a_class_is_left_out_alone(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        write(tmp_path, {f"{name}.tar": 8})
    files = [(f"s{n}.{ending}", n) for n in range(8) for ending in ("cls", "png")]
    contents = {"cls": lambda n: str(n % 3).encode(), "png": png}
    with tarfile.open(tmp_path / "train.tar", "w") as file:
        for name, number in files:
            if name == "s3.cls":
                continue
            content = contents[name[-3:]](number)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, BytesIO(content))
    assert "train.tar/s3 has no .cls; write its number into s3.cls" in refusal(tmp_path)
    splits = opened(tmp_path, bad_images="skip")
    assert greys(splits, splits.train) == [0, 1, 2, 4, 5, 6, 7]
    assert splits.train[range(7)].labels.tolist() == [0, 1, 2, 1, 2, 0, 1]
    assert [Path(name).name for name in splits.train.left_out] == ["s3"]
    assert "1 samples without an image or a class" in splits.remarks()


def test_unreadable_samples_stop_or_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"val-0.tar": 3})
    samples = [("good", 0, png(1)), ("bad", 1, b"no picture"), ("fine", 1, png(2))]
    shard(tmp_path / "train-0.tar", samples)
    shard(tmp_path / "test-0.tar", samples)
    with pytest.raises(UserError, match=r"train-0\.tar/bad is no image"):
        _ = opened(tmp_path).train[Draw([0, 1, 2], 0)]
    splits = opened(tmp_path, bad_images="skip")
    batch = splits.train[Draw([0, 1, 2], 0)]
    assert batch.labels.tolist() == [0, 1]
    assert [name.rsplit("/", 1)[1] for name in batch.left_out] == ["bad"]
    assert greys(splits, splits.test) == [1, 2]
    assert len(splits.test.left_out) == 1


def test_shards_that_cannot_be_used_are_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no such shards" in refusal(tmp_path)
    assert "no such shards" in refusal(f"{tmp_path}/train-{{0..3}}.tar")
    write(tmp_path / "one", {"train-0.tar": 4})
    assert "too few images" in refusal(tmp_path / "one")
    write(tmp_path / "rest", {"val-0.tar": 4, "test-0.tar": 4})
    assert "train-*.tar" in refusal(tmp_path / "rest")
    (write(tmp_path / "odd", {f"{n}.tar": 4 for n in range(4)}) / "2.tar").write_text("no tar")
    assert "2.tar is no tar shard" in refusal(tmp_path / "odd")
    for name in ("train", "val", "test"):
        shard(tmp_path / "single" / f"{name}.tar", [("a", 0, png(1))])
    assert "one class only" in refusal(tmp_path / "single")
    monkeypatch.setitem(sys.modules, "webdataset", None)
    assert "iavit[shards]" in refusal(f"{tmp_path}/one/{{0..1}}.tar")
