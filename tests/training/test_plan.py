"""What a run will take, before it is taken."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from iavit.cli import main
from iavit.config import Config, TrainingConfig
from iavit.model.iavit import IAViT
from iavit.training import plan as planning
from iavit.training.datamodule import DataModule
from iavit.training.plan import Plan, duration
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


@pytest.mark.parametrize("steps", [1, 2])
def test_a_run_shorter_than_what_is_tried_is_planned(tiny_config: Config, steps: int) -> None:
    short = replace(tiny_config.training, steps=steps, interpreter_steps=steps)
    plans = dry_run(replace(tiny_config, training=short))
    assert [planned.steps for planned in plans.values()] == [steps, steps]
    assert all(planned.step_seconds > 0 for planned in plans.values())


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


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"), (119.4, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h"),
        (20_000, "5.6 h"),
    ],
)  # fmt: skip
def test_a_time_in_the_unit_that_a_person_would_choose(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_memory_of_a_gpu_is_named_where_there_is_one() -> None:
    plan = Plan(5, 4, 96, 16, 70, 0.5, 3.0, 5, 3 * 2**29, 5 * 2**29)
    assert plan.lines()[1] == "memory       1.5 GiB at most so far, 2.5 GiB of the GPU's"


def test_the_trial_is_by_the_runs_arithmetic_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(planning, "Trainer", lambda **options: asked.update(options))
    training = TrainingConfig(accelerator="cpu", precision="16", accumulate=5, clip=0.0)
    clock = planning._Clock()
    planning._trainer(training, clock)
    assert asked == {
        "accelerator": "cpu", "devices": 1, "precision": "16-mixed", "max_epochs": 1,
        "limit_train_batches": 7, "limit_val_batches": 0, "accumulate_grad_batches": 5,
        "gradient_clip_val": None, "logger": False, "callbacks": [clock],
        "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "use_distributed_sampler": False, "deterministic": True,
    }  # fmt: skip
    planning._trainer(TrainingConfig(clip=0.25), clock)
    assert asked["gradient_clip_val"] == 0.25


def test_a_batch_is_timed_from_the_end_of_the_one_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first two are slower than those that follow."""
    ends = iter([10.0, 15.0, 15.25, 15.75])
    monkeypatch.setattr(time, "perf_counter", lambda: next(ends))
    clock = planning._Clock()
    module: Any = SimpleNamespace(device=torch.device("cpu"))
    nothing: Any = None
    for number in range(4):
        clock.on_train_batch_end(nothing, module, None, None, number)
    assert clock.seconds == [0.25, 0.5]


def test_a_step_of_several_batches_takes_as_long_as_they_do(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trainer(training: TrainingConfig, clock: Any) -> Any:
        clock.seconds = [0.5, 9.0, 0.25]
        return SimpleNamespace(fit=lambda *given, **named: None, world_size=3)

    monkeypatch.setattr(planning, "_trainer", trainer)
    monkeypatch.setattr(planning, "_validation_seconds", lambda task, data: 2.0)
    monkeypatch.setattr(planning, "keep_freed_memory", lambda: None)
    layer = torch.nn.Linear(4, 3)
    layer.bias.requires_grad_(False)
    task: Any = SimpleNamespace(model=layer)
    data: Any = SimpleNamespace(splits=SimpleNamespace(train=range(96)))
    config = replace(tiny_config, training=replace(tiny_config.training, accumulate=4))
    found = planning.plan(task, data, config, 10)
    assert (found.parameters, found.learning, found.images) == (15, 12, 96)
    assert (found.batch, found.steps, found.step_seconds) == (16 * 4 * 3, 10, 2.0)
    assert (found.validation_seconds, found.validations, found.device_memory) == (2.0, 4, 0)
    assert found.passes == 20
    assert found.seconds == 10 * 2.0 + 4 * 2.0
