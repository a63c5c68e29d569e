"""What a person sees of a training."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning import LightningModule, Trainer
from rich.console import Console

from iavit.training import callbacks
from iavit.training.callbacks import MetricsFile, ProgressLine

TERMS = ("loss", "cross_entropy", "simulation", "alignment", "masked_cross_entropy", "path")
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
