"""`iavit train`: what it starts from, and what it says of that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from iavit.cli import main
from tests.data.files import folder


@pytest.mark.parametrize(
    ("given", "backbone", "size", "rate"),
    [
        ([], "vit_digits", 64, 1e-3),
        (["--backbone", "vit_tiny_patch16_224"], "vit_tiny_patch16_224", None, 1e-3),
        (["--weights", "w.pth"], "vit_small_patch16_224", None, 1e-4),
        (["--pretrained"], "vit_small_patch16_224", None, 1e-4),
        (["--pretrained", "--lr", "0.5"], "vit_small_patch16_224", None, 0.5),
    ],
)
def test_the_start_on_ones_own_images_follows_from_what_is_given(
    given: list[str],
    backbone: str,
    size: int | None,
    rate: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["train", "--data", "folder", "--root", "there", *given, "--print_config"])
    values = yaml.safe_load(capsys.readouterr().out)
    assert (values["backbone"], values["img_size"], values["lr"]) == (backbone, size, rate)


def test_with_an_accelerator_the_start_is_a_backbone_for_photographs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    with pytest.raises(SystemExit):
        main(["train", "--data", "folder", "--root", "there", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["backbone"] == "vit_small_patch16_224"


def test_random_weights_on_ones_own_images_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder(tmp_path / "set", {"a": 8, "b": 8})
    command = ["train", "--data", "folder", "--root", str(root), "--backbone", "vit_digits"]
    options = ["--img-size", "16", "--batch-size", "4", "--steps", "1"]
    assert main([*command, *options, "--output", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "vit_digits starts from random weights" in printed
    assert "folder: 2 classes (a, b); images: 10 training, 2 validation, 4 test; 8 to 12" in printed
