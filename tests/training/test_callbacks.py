"""What a person sees of a training."""

from __future__ import annotations

import io
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console

from iavit.training import callbacks
from iavit.training.callbacks import BadImages, Curves, MetricsFile, ProgressLine
from iavit.types import Batch

TERMS = ("loss", "cross_entropy", "simulation", "alignment", "masked_cross_entropy", "effect")
ACCURACIES = ("predictor_accuracy", "interpreter_accuracy")


def fake_trainer(step: int) -> Trainer:
    metrics = {f"train/{name}": torch.tensor(0.5) for name in (*TERMS, *ACCURACIES)}
    fake = SimpleNamespace(
        global_step=step, is_global_zero=True, sanity_checking=False, callback_metrics=metrics
    )
    return cast(Trainer, fake)


def shown(width: int, *, terminal: bool, steps: int = 3, log_every: int = 1) -> str:
    """What stands on the console after some of 4,400 steps, each logged."""
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=terminal)
    line = ProgressLine(console, steps=4400, log_every=log_every, first_step=0)
    nothing: Any = None
    module = cast(LightningModule, nothing)
    line.on_train_start(fake_trainer(0), module)
    for step in range(1, steps + 1):
        line.on_train_batch_end(fake_trainer(step), module, None, None, step)
    line.bar.refresh()
    text = screen.getvalue()
    line.on_train_end(fake_trainer(steps), module)
    return text


@pytest.mark.parametrize("width", [60, 80, 110])
def test_counts_and_time_are_whole_whatever_the_losses_need(width: int) -> None:
    last = shown(width, terminal=True).replace("\r", "\n").splitlines()[-1]
    assert "step 3/4400" in last
    assert "--:--" in last or ":" in last.split("step 3/4400")[1]


def test_a_run_without_a_terminal_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(80, terminal=False) == ""
    monkeypatch.setattr(callbacks, "QUIET", -1.0)
    lines = shown(80, terminal=False).splitlines()
    assert [line.split()[:2] for line in lines] == [["step", f"{n}/4400"] for n in (1, 2, 3)]
    assert all("loss 0.5" in line and "interpreter 50.0 %" in line for line in lines)


@pytest.mark.parametrize(("steps", "told"), [(3, False), (4, True), (5, True)])
def test_a_terminal_shows_the_losses_of_the_last_step_that_is_logged(
    steps: int, told: bool
) -> None:
    assert ("loss 0.5" in shown(110, terminal=True, steps=steps, log_every=4)) is told


def test_metrics_are_a_row_a_step_and_go_on_from_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table = MetricsFile(path, first_step=10)
    table.log_metrics({"val/loss": 0.5, "epoch": 3.0}, 4)  # lightning counts from 0
    table.log_metrics({"train/loss": 1 / 3}, 1)
    table.log_metrics({"train/loss": 2.0}, 4)
    table.save()
    assert path.read_text() == "step,train/loss,val/loss\n12,0.333333,\n15,2,0.5\n"
    resumed = MetricsFile(path, first_step=10)
    resumed.keep_until(12)
    resumed.log_metrics({"train/loss": 0.25}, 6)
    resumed.finalize("success")
    assert path.read_text() == "step,train/loss,val/loss\n12,0.333333,\n17,0.25,\n"


def test_a_validation_is_a_line_by_the_first_process() -> None:
    screen = io.StringIO()
    line = ProgressLine(Console(file=screen, width=40), steps=90, log_every=1, first_step=10)
    module = cast(LightningModule, None)
    trainer: Any = fake_trainer(3)
    trainer.callback_metrics = {
        "val/loss": torch.tensor(0.12345), "val/predictor_accuracy": torch.tensor(0.8765),
        "train/loss": torch.tensor(7.0), "lr": torch.tensor(0.5),
    }  # fmt: skip
    line.on_validation_end(trainer, module)
    expected = "step     13/100  loss 0.123  predictor 87.7 %\n"
    assert screen.getvalue() == expected
    for name, value in (("is_global_zero", False), ("sanity_checking", True)):
        other: Any = fake_trainer(3)
        setattr(other, name, value)
        line.on_validation_end(other, module)
    assert screen.getvalue() == expected


def test_another_process_says_nothing_while_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "QUIET", -1.0)
    screen = io.StringIO()
    line = ProgressLine(Console(file=screen, width=80), steps=9, log_every=1, first_step=0)
    module = cast(LightningModule, None)
    trainer: Any = fake_trainer(1)
    trainer.is_global_zero = False
    line.on_train_start(trainer, module)
    line.on_train_batch_end(trainer, module, None, None, 0)
    assert screen.getvalue() == ""


def test_a_line_comes_half_a_minute_after_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    screen = io.StringIO()
    line = ProgressLine(Console(file=screen, width=80), steps=9, log_every=1, first_step=0)
    module = cast(LightningModule, None)
    line.on_train_start(fake_trainer(0), module)
    lines = []
    for clock[0] in (130.0, 130.1, 160.0, 160.2):
        line.on_train_batch_end(fake_trainer(1), module, None, None, 0)
        lines.append(screen.getvalue().count("\n"))
    assert lines == [0, 1, 1, 2]


def test_a_bar_goes_where_the_training_ends_by_a_mistake() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=80, force_terminal=True)
    for end in ("on_train_end", "on_exception"):
        line = ProgressLine(console, steps=9, log_every=1, first_step=4)
        line.on_train_start(fake_trainer(2), cast(LightningModule, None))
        shown = [line.bar.live.is_started]
        given = (fake_trainer(2), None) + ((ValueError(),) if end == "on_exception" else ())
        getattr(line, end)(*given)
        assert [*shown, line.bar.live.is_started] == [True, False]
        assert screen.getvalue().endswith("\x1b[2K")  # nothing of it stays
        (task,) = line.bar.tasks
        assert (task.completed, task.total) == (6, 13)


@pytest.mark.parametrize("end", ["on_train_end", "on_exception"])
def test_where_there_is_no_terminal_no_empty_line_ends_a_stage(end: str) -> None:
    screen = io.StringIO()
    line = ProgressLine(Console(file=screen, width=80), steps=9, log_every=1, first_step=4)
    line.on_train_start(fake_trainer(2), cast(LightningModule, None))
    given = (fake_trainer(2), None) + ((ValueError(),) if end == "on_exception" else ())
    getattr(line, end)(*given)
    assert screen.getvalue() == ""


def test_curves_and_rows_have_the_steps_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[int | None] = []
    monkeypatch.setattr(
        TensorBoardLogger, "log_metrics", lambda self, metrics, step=None: logged.append(step)
    )
    curves = Curves(tmp_path, first_step=10)
    for step in (4, 0, None):
        curves.log_metrics({"train/loss": 0.5}, step)
    assert logged == [14, 10, 10]
    assert curves.log_dir == str(tmp_path / "tensorboard")
    table = MetricsFile(tmp_path / "metrics.csv", first_step=10)
    table.keep_until(7)  # of a file that there is not
    table.log_metrics({"train/loss": 0.5})
    assert table.rows == {11: {"train/loss": "0.5"}}
    assert (table.name, table.version) == ("metrics", 0)


def test_files_that_a_batch_left_out_are_listed(tmp_path: Path) -> None:
    nothing: Any = None
    listing = BadImages(tmp_path)
    for names in ((), ("b.png",), ("a.png", "b.png")):
        batch = Batch(torch.zeros(1, 3, 2, 2), torch.zeros(1), left_out=names)
        listing.on_train_batch_end(nothing, nothing, None, batch, 0)
        assert (tmp_path / "bad_images.txt").is_file() == bool(names)
    assert (tmp_path / "bad_images.txt").read_text() == "b.png\na.png\n"
