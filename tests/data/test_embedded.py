from __future__ import annotations

import gzip
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iavit.config import Config, DataConfig, ModelConfig, TrainingConfig
from iavit.data import embedded
from iavit.data.datasets import load_dataset
from iavit.data.images import InMemory, Splits
from iavit.errors import UserError
from tests.data.files import idx


def fashion(root: Path | None, seed: int = 0, **options: object) -> Splits:
    data = replace(DataConfig("fashion_mnist", None if root is None else str(root)), **options)  # type: ignore[arg-type]
    return load_dataset(Config(data=data, training=TrainingConfig(seed=seed)))


def write(root: Path, suffix: str, train: int = 40, test: int = 20) -> None:
    for name, count in (("train", train), ("t10k", test)):
        pixels = np.arange(count * 784).reshape(count, 28, 28) % 251
        idx(root / f"{name}-images-idx3-ubyte{suffix}", pixels)
        idx(root / f"{name}-labels-idx1-ubyte{suffix}", np.arange(count) % 10)


@pytest.mark.parametrize(("suffix", "below"), [("", "."), (".gz", "."), ("", "FashionMNIST/raw")])
def test_idx_files_are_read_as_they_lie(tmp_path: Path, suffix: str, below: str) -> None:
    write(tmp_path / below, suffix)
    splits = fashion(tmp_path)
    assert isinstance(splits.test, InMemory)
    assert splits.test.pixels.shape == (20, 3, 28, 28)
    assert splits.test.pixels[1, 2, 3, 4] == (784 + 3 * 28 + 4) % 251
    assert splits.test.labels.tolist() == [number % 10 for number in range(20)]
    assert splits.remarks() == ("28 pixels a side",)
    assert len(splits.classes) == 10


def test_validation_is_taken_from_training_by_seed(tmp_path: Path) -> None:
    write(tmp_path, "", train=40)
    splits, other = fashion(tmp_path), fashion(tmp_path, seed=1)
    assert isinstance(splits.train, InMemory)
    assert isinstance(splits.val, InMemory)
    assert isinstance(other.val, InMemory)
    assert sorted(splits.val.labels.tolist()) == list(range(10))  # one of each class
    together = torch.cat([splits.train.pixels, splits.val.pixels]).flatten(1)
    assert len(together.unique(dim=0)) == len(together) == 40
    assert not torch.equal(splits.val.pixels, other.val.pixels)
    assert torch.equal(splits.val.pixels, fashion(tmp_path).val.pixels)  # type: ignore[attr-defined]


def test_training_never_opens_the_test_files(tmp_path: Path) -> None:
    write(tmp_path, "")
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    splits = fashion(tmp_path)
    assert len(splits.train) + len(splits.val) == 40
    with pytest.raises(UserError, match="t10k-images"):
        _ = splits.test


def test_debians_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "share/datasets/fashion-mnist", ".gz")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert len(fashion(None).test) == 20


def test_without_package_and_root_the_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(embedded, "find_fashion_mnist", lambda root: None)
    with pytest.raises(UserError, match="dataset-fashion-mnist") as caught:
        fashion(None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b"not at all"),
        lambda path: path.write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x01a")),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b"x")),
        lambda path: path.write_bytes(gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12)),
        lambda path: path.write_bytes(gzip.compress(b"\0\0\x08\x03" + bytes(12) + bytes(10**8))),
    ],
)
def test_damaged_idx_files_are_named(tmp_path: Path, damage: object) -> None:
    write(tmp_path, ".gz")
    damage(tmp_path / "t10k-images-idx3-ubyte.gz")  # type: ignore[operator]
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte\.gz is damaged"):
        _ = fashion(tmp_path).test


def test_a_file_that_claims_too_much_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, "")
    sides = np.array([2**17, 2**6, 2**6 + 1], dtype=">u4")
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sides.tobytes())
    with pytest.raises(UserError, match="claims 545,259,520 bytes, and at most 536,870,912"):
        _ = fashion(tmp_path).test


@pytest.mark.parametrize("labels", [np.arange(20) % 10 + 1, np.arange(19) % 10])
def test_images_and_labels_have_to_match(tmp_path: Path, labels: np.ndarray) -> None:
    write(tmp_path, "")
    idx(tmp_path / "t10k-labels-idx1-ubyte", labels)
    with pytest.raises(UserError, match="images and labels that do not match"):
        _ = fashion(tmp_path).test


def test_digits_have_a_size_of_their_own() -> None:
    assert len(load_dataset(Config(model=ModelConfig(img_size=32))).val) == 60
    with pytest.raises(UserError, match="scenes of digits have 32 pixels a side"):
        load_dataset(Config(model=ModelConfig(img_size=28)))


def test_another_size_is_resized(tmp_path: Path) -> None:
    write(tmp_path, "")
    data = DataConfig("fashion_mnist", str(tmp_path))
    splits = load_dataset(Config(data=data, model=ModelConfig(img_size=32)))
    assert splits.test[[0, 3]].images.shape == (2, 3, 32, 32)


def test_digits_with_a_shortcut_carry_marks_and_colours() -> None:
    splits = load_dataset(Config(data=DataConfig("digits", shortcut=1.0)))
    batch = splits.val[[0, 1, 2]]
    assert batch.shortcut is not None
    assert batch.groups is not None
    assert torch.equal(batch.groups, batch.labels)
    assert len(splits.groups) == 10
    first = splits.val.chosen(torch.arange(2))[[0, 1]]
    assert first.shortcut is not None
    assert torch.equal(first.shortcut, batch.shortcut[:2])
