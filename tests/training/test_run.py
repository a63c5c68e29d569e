from __future__ import annotations

import csv
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import seed_everything
from rich.console import Console

from iavit.config import RECIPES, Config, DataConfig, ModelConfig, TrainingConfig
from iavit.data.datasets import load_dataset
from iavit.data.images import Images, Split
from iavit.errors import DivergedError, Stopped, UserError, WriteError
from iavit.files import locked
from iavit.model.iavit import IAViT
from iavit.training import run as running
from iavit.training import stages as planning
from iavit.training.directory import is_finished, load_run, read_config
from iavit.training.run import create_model, train
from tests.training.runs import rows, same, stopped_in_step_five, weights


def test_the_run_directory_has_what_it_promises(tiny_run: Path) -> None:
    for name in (
        "config.yaml",
        "metrics.csv",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "checkpoints/interpreter/last.ckpt",
        "checkpoints/interpreter/best.ckpt",
        "model/model.safetensors",
        "model/config.json",
    ):
        assert (tiny_run / name).is_file(), name
    assert list((tiny_run / "tensorboard").glob("events.*"))
    assert not list(tiny_run.rglob("*.tmp"))


def test_metrics_has_a_row_a_logged_step_with_every_term(tiny_run: Path) -> None:
    logged = rows(tiny_run)
    assert [row["step"] for row in logged] == ["2", "3", "4", "6", "8", "9", "10", "12"]
    for term in ("cross_entropy", "predictor_accuracy"):  # in the first six steps
        assert [bool(row[f"train/{term}"]) for row in logged] == [1, 0, 1, 1, 0, 0, 0, 0]
        assert [bool(row[f"val/{term}"]) for row in logged] == [0, 1, 0, 1, 0, 0, 0, 0]
    for term in ("simulation", "effect", "effect_attention", "agreement"):  # in the six after them
        assert [bool(row[f"train/{term}"]) for row in logged] == [0, 0, 0, 0, 1, 0, 1, 1]
        assert [bool(row[f"val/{term}"]) for row in logged] == [0, 0, 0, 0, 0, 1, 0, 1]


def test_the_same_seed_gives_the_same_weights(
    tiny_run: Path, tiny_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loud = [logging.getLogger(f"lightning.{part}") for part in ("fabric", "pytorch")]
    for logger in loud:
        caplog.set_level(logging.INFO, logger.name)
        logger.addHandler(caplog.handler)
    try:
        train(tiny_config, tmp_path / "again")
    finally:
        for logger in loud:
            logger.removeHandler(caplog.handler)
    assert "Seed set" not in caplog.text  # which is no news
    assert same(weights(tiny_run), weights(tmp_path / "again"))


def test_another_seed_gives_other_weights(
    tiny_run: Path, tiny_config: Config, tmp_path: Path
) -> None:
    other = replace(tiny_config, training=replace(tiny_config.training, seed=1))
    train(other, tmp_path / "other")
    assert not same(weights(tiny_run), weights(tmp_path / "other"))


def test_resuming_gives_the_weights_of_a_run_that_never_stopped(
    tiny_run: Path, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stopped"
    stopped_in_step_five(tiny_config, folder, monkeypatch)
    assert not is_finished(folder)
    with pytest.raises(UserError, match="--resume"):
        load_run(folder)
    train(tiny_config, folder, resume=True)
    assert same(weights(tiny_run), weights(folder))
    assert rows(tiny_run) == rows(folder)


def test_resuming_with_every_term_gives_the_same_weights(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(
        tiny_config,
        objective=replace(
            RECIPES["paper"],
            masked_share=0.5,
            effect_weight=1.0,
            effect_attention_weight=1.0,
            explain_from=0.25,
        ),
        training=replace(tiny_config.training, log_every=1),
    )
    stopped_in_step_five(config, tmp_path / "stopped", monkeypatch)
    train(config, tmp_path / "stopped", resume=True)
    train(config, tmp_path / "whole")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))
    logged = rows(tmp_path / "whole")
    assert logged == rows(tmp_path / "stopped")
    # All but the labels comes in after a quarter of the six steps.
    assert all(row["train/cross_entropy"] for row in logged)
    late = (
        "simulation",
        "alignment",
        "masked_cross_entropy",
        "effect",
        "effect_attention",
        "interpreter_accuracy",
    )
    for term in late:
        assert [bool(row[f"train/{term}"]) for row in logged] == [False] * 2 + [True] * 4


def test_a_run_that_stopped_before_its_first_checkpoint_starts_again(
    tiny_run: Path, tiny_config: Config, tmp_path: Path
) -> None:
    folder = tmp_path / "early"
    folder.mkdir()
    shutil.copy(tiny_run / "config.yaml", folder)
    train(tiny_config, folder, resume=True)
    assert same(weights(tiny_run), weights(folder))


@pytest.mark.parametrize(
    ("end", "notes"),
    [
        (Stopped(15), ["go on with `iavit train --resume --output {folder}`"]),
        (WriteError("full"), ["go on with `iavit train --resume --output {folder}`"]),
        (
            DivergedError("the loss is nan"),
            [
                "try `iavit train --config {folder}/config.yaml --lr 0.00067 "
                "--output {folder}-2`, or a lower `clip`"
            ],
        ),
        (UserError("no such folder"), []),
    ],
)
def test_a_run_that_ends_early_says_how_to_go_on(
    end: BaseException,
    notes: list[str],
    tiny_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"

    def ended(*given: object) -> None:
        (folder / "config.yaml").touch()
        raise end

    monkeypatch.setattr("iavit.training.run._train", ended)
    with pytest.raises(type(end)) as caught:
        train(tiny_config, folder)
    found = getattr(caught.value, "__notes__", [])
    assert found == [note.format(folder=folder) for note in notes]


def test_a_run_that_ends_before_it_began_leaves_nothing_to_go_on_with(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(*given: object) -> None:
        raise Stopped(15)

    monkeypatch.setattr("iavit.training.run._train", ended)
    with pytest.raises(Stopped) as caught:
        train(tiny_config, tmp_path / "run")
    assert not hasattr(caught.value, "__notes__")
    assert not (tmp_path / "run").exists()


def test_resuming_a_finished_run_changes_nothing(tiny_run: Path, tiny_config: Config) -> None:
    before = (tiny_run / "model" / "model.safetensors").stat().st_mtime_ns
    train(tiny_config, tiny_run, resume=True)
    assert (tiny_run / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_resuming_with_other_settings_is_refused_with_the_difference(
    tiny_run: Path, tiny_config: Config
) -> None:
    other = replace(tiny_config, training=replace(tiny_config.training, lr=0.5))
    with pytest.raises(UserError, match=r"`lr` 0.002 -> 0.5"):
        train(other, tiny_run, resume=True)


def test_settings_that_move_no_weight_do_not_stop_a_resume(
    tiny_run: Path, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "stopped"
    stopped_in_step_five(tiny_config, folder, monkeypatch)
    other = replace(
        tiny_config,
        data=replace(tiny_config.data, root=str(tmp_path), workers=1),
        training=replace(tiny_config.training, accelerator="cpu", log_every=1),
    )
    train(other, folder, resume=True)
    assert same(weights(tiny_run), weights(folder))
    assert read_config(folder) == other
    assert [row["step"] for row in rows(folder)] == ["2", *map(str, range(3, 13))]


def test_more_steps_for_a_finished_run_are_another_run(tiny_run: Path, tiny_config: Config) -> None:
    more = replace(tiny_config, training=replace(tiny_config.training, steps=9))
    with pytest.raises(UserError, match=r"for more steps start a run from it: `weights` .*/tiny"):
        train(more, tiny_run, resume=True)


def test_a_second_run_in_the_folder_is_refused(tiny_config: Config, tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(UserError, match="by another process"):
        train(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_occupied_folder_is_refused_and_left_alone(tiny_config: Config, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        train(tiny_config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_way_is_refused(tiny_config: Config, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        train(tiny_config, str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written"):
        train(tiny_config, tmp_path / "file" / "run")


def test_a_length_that_is_not_named_is_written_and_resumed(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "FEWEST_STEPS", 3)
    monkeypatch.setattr(planning, "DEFAULT_EPOCHS", 0)
    unnamed = replace(tiny_config, training=replace(tiny_config.training, steps=None))
    assert train(unnamed, tmp_path / "run").config.training.steps == 3
    assert read_config(tmp_path / "run").training.steps == 3
    assert train(unnamed, tmp_path / "run", resume=True).config.training.steps == 3


def test_accumulated_batches_make_one_step(tiny_config: Config, tmp_path: Path) -> None:
    training = replace(tiny_config.training, accumulate=2, steps=4, validate_every=2)
    train(replace(tiny_config, training=training), tmp_path / "run")
    assert [row["step"] for row in rows(tmp_path / "run")] == ["2", "4", "6", "8"]


@pytest.mark.parametrize(
    ("group", "change", "told"),
    [
        ("data", {"data": "digit"}, "digits"),
        ("model", {"backbone": "vit_digit"}, "vit_digits"),
        ("model", {"img_size": 28}, "`img_size`"),
        ("model", {"weights": "gone.pth"}, "`weights` gone.pth: there is no such file"),
        ("training", {"freeze": True, "unfreeze_last": 4}, "this backbone has 2 blocks"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_written(
    tiny_config: Config, tmp_path: Path, group: str, change: dict[str, Any], told: str
) -> None:
    bad = replace(tiny_config, **{group: replace(getattr(tiny_config, group), **change)})
    with pytest.raises(UserError, match=told):
        train(bad, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_plain_classifier_leaves_the_interpreter_as_it_was(
    tiny_config: Config, tmp_path: Path
) -> None:
    config = replace(tiny_config, objective=RECIPES["plain"])
    seed_everything(config.training.seed, verbose=False)
    before = create_model(config, len(load_dataset(config).classes)).state_dict()
    after = train(config, tmp_path / "plain").saved.model.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("interpreter.") for name in moved)
    assert "extractor.backbone.head.weight" in moved
    with (tmp_path / "plain" / "metrics.csv").open() as file:
        columns = set(csv.DictReader(file).fieldnames or ())
    for stage in ("train", "val"):
        assert {f"{stage}/loss", f"{stage}/predictor_accuracy"} <= columns
        assert not {f"{stage}/interpreter_accuracy", f"{stage}/simulation"} & columns


def test_training_never_reads_the_test_images(tiny_config: Config, tmp_path: Path) -> None:
    whole = load_dataset(tiny_config)

    def without_test(split: Split) -> Images:
        assert split != "test"
        return whole.read(split)

    train(tiny_config, tmp_path / "run", splits=replace(whole, read=without_test))


def test_a_model_is_made_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def create(*given: object, **named: object) -> str:
        asked.append((given, named))
        return "the model"

    monkeypatch.setattr(IAViT, "create", create)
    model = ModelConfig(
        "vit_photos", img_size=48, pretrained=True, interpreter_head="positional",
        branch_width=72, drop_path=0.25,
    )  # fmt: skip
    for recipe in ("faithful", "paper", "plain"):
        config = Config(model=model, objective=RECIPES[recipe])
        assert create_model(config, 7) == "the model"  # type: ignore[comparison-overlap]
    given = ("vit_photos", 7, 48, True)
    named = {"interpreter_head": "positional", "drop_path": 0.25}
    assert asked == [(given, {**named, "branch_width": width}) for width in (72, 0, 0)]
    monkeypatch.setattr(running, "beside_file", lambda model: f"beside {model.classifier}")
    beside = Config(
        model=ModelConfig(classifier="c.pt", img_size=48), training=TrainingConfig(steps=0)
    )
    assert create_model(beside, 7) == "beside c.pt"  # type: ignore[comparison-overlap]


@pytest.mark.parametrize(
    ("mixed", "batch_size", "images", "refused"),
    [
        ({"mixup": 0.5}, 15, 96, "a batch has 15;"),
        ({"cutmix": 0.5}, 16, 7, "a batch has 7;"),
        ({"mixup": 0.5}, 16, 96, None),
        ({}, 15, 7, None),
    ],
)
def test_images_are_mixed_in_pairs(
    mixed: dict[str, Any], batch_size: int, images: int, refused: str | None
) -> None:
    config = Config(data=DataConfig(batch_size=batch_size), training=TrainingConfig(**mixed))
    if refused is None:
        running._check_pairs(config, images)
        return
    with pytest.raises(UserError, match=refused):
        running._check_pairs(config, images)


def test_a_run_has_a_length_by_steps_or_passes() -> None:
    assert not running.has_length(Config())
    assert running.has_length(Config(training=TrainingConfig(steps=0)))
    assert running.has_length(Config(training=TrainingConfig(epochs=0.5)))
    longer = running.with_steps(Config(data=DataConfig(batch_size=7)), 5)
    assert (longer.training.steps, longer.data.batch_size) == (5, 7)


def test_of_several_processes_the_first_alone_writes_and_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet: list[bool] = []

    def carried_out(
        config: Config, folder: Path, resume: bool, console: Console, *rest: Any
    ) -> str:
        quiet.append(console.quiet)
        return "the run"

    monkeypatch.setattr(running, "_train", carried_out)
    for first in (True, False):
        monkeypatch.setattr(running, "is_first_process", lambda first=first: first)
        folder = tmp_path / str(first)
        assert train(Config(), folder, console=Console()) == "the run"  # type: ignore[comparison-overlap]
    assert quiet == [False, True]


@pytest.mark.parametrize(
    ("end", "begun", "note"),
    [
        (Stopped(15), True, "go on with `iavit train --resume --output {folder}`"),
        (WriteError("full"), True, "go on with `iavit train --resume --output {folder}`"),
        (Stopped(15), False, None),
        (
            DivergedError("nan"),
            False,
            "try `iavit train --config {folder}/config.yaml --lr 0.00033 --output {folder}-2`, "
            "or a lower `clip`",
        ),
        (UserError("odd"), True, None),
    ],
)
def test_what_goes_on_after_an_end_stands_on_it(
    end: BaseException,
    begun: bool,
    note: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(config: Config, folder: Path, *rest: Any) -> None:
        if begun:
            (folder / "config.yaml").touch()
        raise end

    monkeypatch.setattr(running, "_train", stop)
    with pytest.raises(type(end)) as told:
        train(Config(), tmp_path / "run", console=Console(quiet=True))
    notes = [] if note is None else [note.format(folder=tmp_path / "run")]
    assert getattr(told.value, "__notes__", []) == notes
