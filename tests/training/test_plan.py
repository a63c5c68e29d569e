"""What a run will take, before it is taken."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from iavit.cli import main
from iavit.config import Config
from iavit.model.iavit import IAViT
from iavit.training import plan as planning
from iavit.training.datamodule import DataModule
from iavit.training.plan import Plan
from iavit.training.run import dry_run
from iavit.training.task import Task
from iavit.types import Batch


def test_it_counts_what_the_run_is_made_of(tiny_config: Config) -> None:
    plans = dry_run(
        replace(tiny_config, training=replace(tiny_config.training, steps=12, validate_every=1))
    )
    assert list(plans) == ["predictor", "interpreter"]
    planned = plans["predictor"]
    assert planned.images == 96
    assert planned.batch == 16
    assert planned.passes == 2.0  # 12 steps of 16 of 96 images
    assert planned.validations == 12  # after each step
    assert planned.parameters > planned.learning > 50_000
    assert 50 * 2**20 < planned.memory < 8 * 2**30
    assert planned.learning + plans["interpreter"].learning == planned.parameters
    assert 0.001 < planned.step_seconds < 10


def test_the_time_of_all_validation_images_is_estimated_from_one_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch of 16 takes two seconds, so 60 images take 7.5."""
    batch = Batch(torch.zeros(16, 3, 8, 8), torch.zeros(16, dtype=torch.long))
    splits = SimpleNamespace(train=range(96), val=range(60))
    data = SimpleNamespace(splits=splits, val_dataloader=lambda: [batch])
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    task = SimpleNamespace(model=IAViT.create("vit_digits", 2, 8))
    found = planning._validation_seconds(cast(Task, task), cast(DataModule, data))
    assert found == 7.5


def test_it_is_read_in_seven_lines() -> None:
    plan = Plan(1_500_000, 1_000, 50_000, 64, 7_800, 0.25, 10.0, 32, 3 * 2**29, 0)
    assert plan.seconds == 7_800 * 0.25 + 320
    assert plan.lines() == (
        "parameters   1,500,000, of which 1,000 learn",
        "memory       1.5 GiB at most so far",
        "steps        7,800 of 64 images",
        "passes       10.0 over 50,000 training images",
        "a step       250 ms, loading included",
        "validations  32 of 10.0 s",
        "time         38 min",
    )


def test_the_command_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--steps", "8", "--batch-size", "16", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("  steps        8 of 16 images") == 2
    assert said.splitlines()[0] == "predictor:"
    assert said.splitlines()[-1].startswith("in all ")
    assert list(tmp_path.iterdir()) == []
