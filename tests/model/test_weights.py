"""Models on disk: what is written is what is read, and what cannot be read is refused by name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from iavit.data.transforms import Normalisation
from iavit.errors import UserError, WriteError
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved, load_model, save_model

NORMALISATION = Normalisation((0.1, 0.2, 0.3), (0.5, 0.6, 0.7), (5.0, 4095.0))


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    """A small model, which lies in `tmp_path`."""
    saved = Saved(IAViT.create("vit_digits", 3, 8).eval(), ("é", "b c", "d"), NORMALISATION)
    save_model(saved, tmp_path)
    return saved


def test_names_numbers_and_weights_come_back(saved: Saved, tmp_path: Path) -> None:
    again = load_model(tmp_path)
    assert again.classes == ("é", "b c", "d")
    assert again.normalisation == NORMALISATION
    assert not again.model.training
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(again.model(images).logits, saved.model(images).logits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    lines = (tmp_path / "config.json").read_text(encoding="utf-8").splitlines()
    assert '  "classes": [' in lines  # a person reads it, and a line of it changes alone


def test_a_disk_that_fills_up_leaves_the_model_that_was_there(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    other = Saved(IAViT.create("vit_digits", 3, 8), saved.classes, NORMALISATION)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(WriteError, match=r"model\.safetensors cannot be written \(No space"):
            save_model(other, tmp_path)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(load_model(tmp_path).model(images).logits, saved.model(images).logits)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(saved: Saved, tmp_path: Path, name: str) -> None:
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        load_model(tmp_path)


def test_a_folder_may_be_named_by_text_and_a_runs_own_is_none(saved: Saved, tmp_path: Path) -> None:
    save_model(saved, str(tmp_path / "run" / "model"))
    assert load_model(str(tmp_path / "run" / "model")).classes == saved.classes
    with pytest.raises(UserError, match=r"config\.json is missing: name a folder .* RUN/model"):
        load_model(tmp_path / "run")


def test_another_format_names_the_version_that_wrote_it(saved: Saved, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    described: dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "format": 99, "iavit": "7.1"}))
    with pytest.raises(UserError, match=r"config\.json has format 99.*\(7\.1\)"):
        load_model(tmp_path)


def test_what_is_written_of_a_model_is_documented(saved: Saved, tmp_path: Path) -> None:
    described = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert described["format"] == 1
    assert described["iavit"] == version("iavit")
    assert described["architecture"]["backbone"] == "vit_digits"
    assert described["normalisation"]["pixel_range"] == [5.0, 4095.0]
    content = (tmp_path / "model.safetensors").read_bytes()
    assert described["sha256"] == hashlib.sha256(content).hexdigest()
    del described["sha256"], described["normalisation"]["pixel_range"]  # of earlier versions
    (tmp_path / "config.json").write_text(json.dumps(described))
    assert load_model(tmp_path).normalisation == replace(NORMALISATION, pixel_range=None)


def test_every_class_needs_a_name(saved: Saved, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**described, "classes": ["é", "b c"]}))
    with pytest.raises(UserError, match="holds no model that can be read"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '{"format": 1}'])
def test_a_damaged_description_is_refused(saved: Saved, tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"damaged|no model that can be read") as refusal:
        load_model(tmp_path)
    assert str(tmp_path) in str(refusal.value)


def test_cut_off_weights_are_refused(saved: Saved, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"model\.safetensors is damaged: its checksum"):
        load_model(tmp_path)
