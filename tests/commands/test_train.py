"""`iavit train`: what it starts from, and what it says of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from iavit.cli import main
from iavit.commands import train as command
from iavit.config import Config
from iavit.training import run as running
from iavit.training.directory import read_config
from iavit.training.plan import Plan
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
        ([], {"objective": "faithful", "effect_weight": "2.0", "interpreter": "after"}),
        (["--objective", "paper"], {"objective": "paper", "effect_weight": "0.0"}),
        (
            ["--objective=plain", "--effect-weight", "2"],
            {"objective": "plain", "effect_weight": "2.0"},
        ),
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
    assert (printed["objective"], printed["effect_weight"]) == ("paper", "0.0")
    assert printed["masked_weight"] == "0.7"
    assert "papers" in mistake(capsys, "train", "--objective", "papers")


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("", {}),
        ("--data folder --backbone=b --lr 3", {"data": "folder", "backbone": "b"}),
        ("--resume --output o --pretrained", {"resume": True, "output": "o", "pretrained": True}),
        ("--weights w --preset p --run r --objective plain",
         {"weights": "w", "preset": "p", "run": "r", "objective": "plain"}),
        ("--classifier c --img-size 28 --data", {"classifier": "c", "img-size": "28", "data": ""}),
        ("--config {file} --data mine", {"data": "mine", "backbone": "vit", "weights": "w"}),
        ("--data mine --config={file}", {"data": "mine", "backbone": "vit", "weights": "w"}),
        ("--config {file}", {"data": "folder", "backbone": "vit", "weights": "w"}),
        ("--config nowhere.yaml --data mine", {"data": "mine"}),
    ],
)  # fmt: skip
def test_the_words_that_decide_what_others_start_from(
    given: str, asked: dict[str, Any], tmp_path: Path
) -> None:
    """Of a file they are read, too; what is said beside it comes first."""
    file = tmp_path / "s.yaml"
    file.write_text(
        "data: folder\nbackbone: vit\nweights: w\nlr: 3\npretrained: false\nrun: null\n"
    )
    assert command.peek(given.format(file=file).split()) == asked


def test_a_file_says_all_that_decides(tmp_path: Path) -> None:
    words = dict.fromkeys(
        ("data", "objective", "backbone", "weights", "pretrained", "run", "classifier"), "x"
    )
    (tmp_path / "s.yaml").write_text(yaml.dump(words | {"lr": 0.5, "output": "o"}))
    assert command.peek(["--config", str(tmp_path / "s.yaml")]) == words | {"output": "o"}


def printed_by(capsys: pytest.CaptureFixture[str], *given: str) -> dict[str, Any]:
    with pytest.raises(SystemExit):
        main(["train", *given, "--print_config"])
    values: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    return values


def test_what_a_run_goes_on_with_is_its_own(
    tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed_by(capsys, "--resume", "--output", str(tiny_run))["validate_every"] == 3
    assert printed_by(capsys, "--output", str(tiny_run))["validate_every"] == 250


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, Path, bool]]:
    """What is asked of the training."""
    found: list[tuple[Config, Path, bool]] = []

    def train(config: Config, folder: Path, *, resume: bool, console: Any) -> str:
        assert not console._highlight  # the one for names and paths
        found.append((config, folder, resume))
        return "the run"

    monkeypatch.setattr(running, "train", train)
    return found


SURE = "starts from random weights, which takes many images"


@pytest.mark.parametrize(
    ("given", "folder", "warned"),
    [
        ("--data digits", "runs/digits", False),
        ("--data folder --root r --backbone vit_digits", "runs/folder", True),
        ("--data folder --root r --output o --pretrained", "o", False),
        ("--data folder --root r --output o --weights w.pth", "o", False),
        ("--output o --img-size 28", "o", False),
    ],
)
def test_a_run_goes_where_one_says_or_by_its_datas_name(
    given: str,
    folder: str,
    warned: bool,
    asked: list[tuple[Config, Path, bool]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", *given.split()]) == 0
    ((config, there, resume),) = asked
    assert (str(there), resume) == (folder, False)
    assert config.data.data == ("folder" if "folder" in given else "digits")
    said = capsys.readouterr().out
    assert said.endswith(f"{folder} is trained; next: iavit evaluate {folder}\n")
    assert said.count("\n") == 1 + warned
    assert (f"{config.model.backbone} {SURE}" in said) is warned


def test_a_run_is_resumed_by_its_name(
    tiny_run: Path,
    asked: list[tuple[Config, Path, bool]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "--resume", "--output", str(tiny_run)]) == 0
    ((_, folder, resume),) = asked
    assert (folder, resume) == (tiny_run, True)
    assert mistake(capsys, "train", "--resume") == "iavit: --resume: name the run with --output\n"


def test_of_several_processes_the_first_goes_on_alone(
    tmp_path: Path, asked: list[tuple[Config, Path, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.train_run(Config(), tmp_path, resume=False) == "the run"  # type: ignore[comparison-overlap]
    monkeypatch.setattr(running, "is_first_process", lambda: False)
    with pytest.raises(SystemExit) as ended:
        command.train_run(Config(), tmp_path, resume=False)
    assert ended.value.code == 0


@pytest.mark.parametrize(
    ("learns", "name"), [("both", "predictor and interpreter"), ("predictor",) * 2]
)
def test_what_a_run_will_take_is_said_and_nothing_done(
    learns: str,
    name: str,
    asked: list[tuple[Config, Path, bool]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = Plan(5, 4, 96, 16, 70, 0.5, 3.0, 5, 2**30, 0)  # 35 + 15 s
    plans = {learns: first, "interpreter": Plan(5, 4, 96, 16, 20, 0.5, 3.0, 2, 2**30, 0)}
    monkeypatch.setattr(running, "dry_run", lambda config: plans)
    assert main(["train", "--dry-run", "--lr", "0.5"]) == 0
    assert asked == []
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [f"{name}:", "  parameters   5, of which 4 learn"]
    assert lines[-1] == "in all 66 s"
    assert "interpreter:" in lines
    assert len(lines) == 2 * (1 + len(first.lines())) + 1


def test_help_shows_few_settings_of_which_each_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(command.ESSENTIAL) <= Config().flat().keys()
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    for name in Config().flat():
        written = f"--{name.replace('_', '-')}"
        assert (f"{written} " in shown) is (name in command.ESSENTIAL), name
    for group in ("Data", "Model", "Objective", "Training", "Run"):
        assert f"\n{group}:\n" in shown


def test_a_file_decides_what_the_command_line_decides(tmp_path: Path, tiny_run: Path) -> None:
    """A preset, a size, and a run to be resumed."""
    path = tmp_path / "settings.yaml"
    path.write_text(f"preset: cifar10\nimg_size: 48\noutput: {tiny_run}\nresume: false\n")
    asked = command.peek(["--config", str(path)])
    assert asked == {"preset": "cifar10", "img-size": "48", "output": str(tiny_run)}
    path.write_text(f"output: {tiny_run}\nresume: true\n")
    parser = ArgumentParser()
    command.add_options(parser, ["--config", str(path)])
    assert parser.get_defaults()["steps"] == read_config(tiny_run).training.steps
    path.write_text("data: folder\npreset: cifar10\n")
    parser = ArgumentParser()
    command.add_options(parser, ["--config", str(path)])
    assert parser.get_defaults()["backbone"] == "vit_photos"
    assert parser.get_defaults()["steps"] == 9000
