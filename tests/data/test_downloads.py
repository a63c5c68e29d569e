from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100, STL10, FashionMNIST

from iavit.config import Config, DataConfig, ModelConfig
from iavit.data.augment import Draw
from iavit.data.datasets import DATASETS, load_dataset
from iavit.data.images import InMemory, Splits
from iavit.errors import UserError
from tests.data import files

BATCHES = {f"data_batch_{number}": 20 for number in range(1, 6)}


def opened(name: str, root: Path, size: int | None = None, augment: Any = "none") -> Splits:
    data = DataConfig(name, str(root), augment=augment)
    return load_dataset(Config(data, ModelConfig("vit_digits", img_size=size)))


@pytest.fixture(autouse=True)
def _offline_and_unsummed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be fetched; the files of the tests have other checksums than the real ones."""

    def refuse(self: CIFAR10) -> None:
        Path(self.root).mkdir(exist_ok=True)
        raise URLError("no network")

    for kind in (CIFAR10, CIFAR100, STL10, FashionMNIST):
        monkeypatch.setattr(kind, "download", refuse)
    monkeypatch.setattr(CIFAR10, "train_list", [[name, None] for name in BATCHES])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})
    monkeypatch.setattr(CIFAR100, "train_list", [["train", None]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", None]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": None})
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(STL10, part, [[name, None] for name, _ in getattr(STL10, part)])


def test_cifar10_by_its_batches(tmp_path: Path) -> None:
    files.cifar10(tmp_path, {**BATCHES, "test_batch": 30})
    splits = opened("cifar10", tmp_path)
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [90, 10, 30]
    assert splits.classes[3] == "class 3"
    assert splits.remarks() == ("32 pixels a side",)
    assert DATASETS["cifar10"].find(tmp_path) == tmp_path / "cifar-10-batches-py"
    assert DATASETS["cifar10"].find(None) is DATASETS["cifar100"].find(tmp_path) is None
    assert isinstance(splits.test, InMemory)
    assert splits.test.pixels[7].unique().tolist() == [7]
    assert splits.test[[7]].labels.tolist() == [7]


def test_cifar10_at_the_backbones_size_in_both_augmentations(tmp_path: Path) -> None:
    files.cifar10(tmp_path, {**BATCHES, "test_batch": 30})
    for augment in ("authors", "modern"):
        splits = opened("cifar10", tmp_path, 48, augment)
        assert splits.train[Draw([0, 1], 3)].images.shape == (2, 3, 48, 48)
        assert splits.test[[0]].images.shape == (1, 3, 48, 48)
        assert splits.normalisation.mean == (0.5, 0.5, 0.5)


def test_cifar100_by_its_fine_labels(tmp_path: Path) -> None:
    files.cifar100(tmp_path, {"train": 300, "test": 100})
    splits = opened("cifar100", tmp_path, 32)
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [200, 100, 100]
    assert len(splits.classes) == 100
    assert DATASETS["cifar100"].find(tmp_path) == tmp_path / "cifar-100-python"


def test_stl10_by_its_binaries(tmp_path: Path) -> None:
    names = {"train": 40, "test": 20, "unlabeled": 1}
    files.stl10(tmp_path, names)
    folds = "\n".join("0 1 2" for _ in range(10))
    (tmp_path / "stl10_binary" / "fold_indices.txt").write_text(folds)
    splits = opened("stl10", tmp_path, 96)
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [30, 10, 20]
    assert splits.remarks() == ("96 pixels a side",)
    assert DATASETS["stl10"].find(tmp_path) == tmp_path / "stl10_binary"
    batch = splits.test[[4]]
    assert batch.labels.tolist() == [4]
    red = splits.normalisation.restore(batch.images)[0, 0]
    assert torch.equal((red == 200).any(dim=0), torch.arange(96) == 7)  # a bright column


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10", "fashion_mnist"])
def test_offline_the_line_says_what_to_put_where(name: str, tmp_path: Path) -> None:
    root = tmp_path / "new"
    with pytest.raises(UserError, match="no network") as caught:
        opened(name, root)
    message = str(caught.value)
    assert str(root) in message
    assert not root.exists()
    assert "https://" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["cifar10", "stl10", "celeba", "dogs_vs_cats", "table", "shards"])
def test_a_set_of_files_needs_to_know_where(name: str) -> None:
    with pytest.raises(UserError, match="`root`"):
        load_dataset(Config(data=DataConfig(name)))
