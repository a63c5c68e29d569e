"""`iavit train`: what it starts from, and what it says of that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from iavit.cli import main
from tests.commands import mistake
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


def test_printed_settings_are_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--img-size", "28", "--lr", "0.5", "--print_config"])
    printed = capsys.readouterr().out
    (tmp_path / "settings.yaml").write_text(printed)
    with pytest.raises(SystemExit):
        main(["train", "--config", str(tmp_path / "settings.yaml"), "--print_config"])
    assert capsys.readouterr().out == printed
    assert "lr: 0.5" in printed
    assert "backbone: vit_digits" in printed  # the preset of the data set


@pytest.mark.parametrize(
    ("given", "read"), [(["--freeze"], "true"), (["--freeze", "false"], "false"), ([], "false")]
)
def test_a_switch_needs_no_value(
    given: list[str], read: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", *given, "--print_config"])
    assert f"\nfreeze: {read}\n" in capsys.readouterr().out


def test_the_settings_of_a_run_repeat_it(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    assert main(["train", "--config", str(tiny_run / "config.yaml"), "--output", str(again)]) == 0
    name = "model/model.safetensors"
    assert (again / name).read_bytes() == (tiny_run / name).read_bytes()


def test_resume_takes_the_settings_of_the_run(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", "--output", str(tiny_run)]) == 0
    assert "--lr" in mistake(capsys, "train", "--resume", "--output", tiny_run, "--lr", "1")


def test_a_backbone_that_is_suggested_is_not_refused_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = mistake(capsys, "train", "--backbone", "swim_tiny_patch4_window7_224", "--output", "x")
    assert "swin" not in line


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"objective": "faithful", "path_weight": "2.0", "interpreter": "after"}),
        (["--objective", "paper"], {"objective": "paper", "path_weight": "0.0"}),
        (["--objective=plain", "--path-weight", "2"], {"objective": "plain", "path_weight": "2.0"}),
        (
            ["--data", "fashion_mnist", "--objective", "paper"],
            {"objective": "paper", "interpreter": "joint", "lr": "0.003"},
        ),
        (["--data", "folder", "--preset", "cifar10"], {"data": "folder", "backbone": "vit_photos"}),
    ],
)
def test_a_recipe_sets_the_objective_and_options_override_it(
    given: list[str], expected: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", *given, "--print_config"])
    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert {name: printed[name] for name in expected} == expected


def test_a_file_of_settings_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = mistake(capsys, "train", "--config")
    assert line == "iavit: argument --config: expected one argument\n"
    line = mistake(capsys, "train", "--config", tmp_path)
    assert line == f"iavit: --config: Path is not a file: '{tmp_path}'\n"


def test_a_recipe_may_be_named_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("objective: paper\nmasked_weight: 0.7\n")
    with pytest.raises(SystemExit):
        main(["train", "--config", str(tmp_path / "mine.yaml"), "--print_config"])
    printed = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert (printed["objective"], printed["path_weight"]) == ("paper", "0.0")
    assert printed["masked_weight"] == "0.7"
    assert "papers" in mistake(capsys, "train", "--objective", "papers")
