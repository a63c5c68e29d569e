from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from iavit.config import Config, DataConfig, ModelConfig
from iavit.data.datasets import load_dataset
from iavit.data.images import Splits
from iavit.data.on_disk import FromFiles
from iavit.errors import UserError
from tests.data.files import folder, truncate


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


def spoilt(root: Path) -> Path:
    """Ten images a class of which one has no header, one no end, and one is empty."""
    folder(root, {"a": 10, "b": 10})
    (root / "a" / "0.png").write_text("I am a picture, honestly")
    truncate(root / "b" / "odd \n.jpg")
    (root / "b" / "empty.png").touch()
    return root
