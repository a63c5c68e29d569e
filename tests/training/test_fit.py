"""A stage from its first step to its best weights; devices, and losses that are no numbers."""

from __future__ import annotations

import ctypes
import logging
import platform
import threading
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from iavit.config import Config, TrainingConfig
from iavit.errors import DivergedError, UserError, WriteError
from iavit.objective.step import objective_terms
from iavit.training import fit
from iavit.training.checkpoints import SealedFiles
from iavit.training.directory import is_finished
from iavit.training.processes import Ended, WholeBatchNorms
from iavit.training.run import train
from iavit.training.stages import stages
from tests.training.runs import rows, weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accelerator": "gpu"}, "`accelerator` gpu"),
        ({"accelerator": "abacus"}, "`accelerator` abacus"),
        ({"devices": "0"}, "`devices` 0"),
        ({"devices": "-1"}, "`devices` -1"),
        ({"devices": "0,1"}, "`devices` 0,1"),
        ({"devices": "many"}, "`devices` many"),
        ({"strategy": "relay"}, "`strategy` relay"),
    ],
)
def test_devices_that_are_not_there_are_refused_before_anything_is_written(
    tiny_config: Config, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    if "accelerator" not in change:
        change = {**change, "accelerator": "cpu"}
    elif torch.cuda.is_available():
        pytest.skip("there is a GPU")
    config = replace(tiny_config, training=replace(tiny_config.training, **change))
    with pytest.raises(UserError, match=message) as refused:
        train(config, tmp_path / "runs" / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_the_best_validated_weights_become_the_model(tiny_run: Path) -> None:
    """The predictor's by its cross-entropy, the interpreter's by its own loss, after it."""
    final = weights(tiny_run)
    stages = (("", "extractor.", "val/cross_entropy", 0), ("interpreter", "", "val/loss", 6))
    for stage, part, metric, first_step in stages:
        path = tiny_run / "checkpoints" / stage / "best.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        best = {k.removeprefix("model."): v for k, v in checkpoint["state_dict"].items()}
        assert all(torch.equal(final[name], best[name]) for name in final if name.startswith(part))
        values = {int(row["step"]) - first_step: row[metric] for row in rows(tiny_run)}
        of_stage = {step: float(v) for step, v in values.items() if v and 0 < step <= 6}
        assert checkpoint["global_step"] == min(of_stage, key=lambda step: of_stage[step])


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_checkpoint(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sick_from_step_five(*arguments: Any, **named: Any) -> dict[str, torch.Tensor]:
        terms = objective_terms(*arguments, **named)
        training = torch.is_grad_enabled()
        steps.append(training)
        return {**terms, "loss": terms["loss"] * (float("nan") if sum(steps) >= 5 else 1.0)}

    steps: list[bool] = []
    monkeypatch.setattr("iavit.training.task.objective_terms", sick_from_step_five)
    folder = tmp_path / "sick"
    with pytest.raises(UserError, match="since step 5") as refused:
        train(tiny_config, folder)
    assert refused.value.__notes__ == [
        f"try `iavit train --config {folder}/config.yaml --lr 0.00067 --output {folder}-2`, "
        "or a lower `clip`"
    ]
    kept = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 3
    assert all(torch.isfinite(value).all() for value in kept["state_dict"].values())
    assert not is_finished(folder)


def test_lightning_is_asked_for_what_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(fit, "Trainer", lambda **options: asked.update(options))
    training = TrainingConfig(
        accelerator="cpu", devices="3", strategy="ddp", precision="bf16", accumulate=5, clip=0.25,
        log_every=7,
    )  # fmt: skip
    loggers: list[Any] = ["a logger"]
    watching: list[Any] = ["a callback"]
    fit._trainer(training, tmp_path, loggers, watching)
    assert [type(each) for each in asked.pop("plugins")] == [SealedFiles, WholeBatchNorms]
    assert asked == {
        "accelerator": "cpu", "devices": 3, "strategy": "ddp", "precision": "bf16-mixed",
        "max_epochs": -1, "accumulate_grad_batches": 5, "gradient_clip_val": 0.25,
        "log_every_n_steps": 7, "logger": loggers, "callbacks": watching,
        "num_sanity_val_steps": 0, "enable_checkpointing": True, "enable_progress_bar": False,
        "enable_model_summary": False, "use_distributed_sampler": False, "deterministic": True,
        "default_root_dir": tmp_path,
    }  # fmt: skip
    fit._trainer(TrainingConfig(devices="auto", clip=0.0), None, [], [])
    assert (asked["devices"], asked["gradient_clip_val"]) == ("auto", None)
    assert (asked["precision"], asked["enable_checkpointing"]) == ("32-true", False)
    assert fit.PRECISION["16"] == "16-mixed"


def test_memory_of_a_step_is_kept_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    libc = SimpleNamespace(mallopt=lambda *given: asked.append(given))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    for name in ("musl", "glibc"):
        monkeypatch.setattr(platform, "libc_ver", lambda name=name: (name, "2.39"))
        fit.keep_freed_memory()
        assert len(asked) == (2 if name == "glibc" else 0)
    assert asked == [(-1, 2**30), (-3, 2**30)]  # as malloc.h numbers them


def test_a_thread_that_writes_curves_ends_without_a_traceback() -> None:
    """On a full disk, say; what is no mistake of a disk is shown as ever."""
    ended: list[type[BaseException]] = []
    before = threading.excepthook
    threading.excepthook = lambda end: ended.append(end.exc_type)
    try:
        mine = threading.excepthook
        with fit._quiet():
            for kind in (FileNotFoundError, ZeroDivisionError):
                threading.excepthook(threading.ExceptHookArgs((kind, kind(), None, None)))
            warnings.warn("The dataloader does not have many workers", stacklevel=1)
        assert ended == [ZeroDivisionError]
        assert threading.excepthook is mine
        assert logging.getLogger("lightning.pytorch").level == logging.ERROR
    finally:
        threading.excepthook = before


@pytest.mark.parametrize(
    ("end", "kind", "line", "note"),
    [
        (WriteError("full"), WriteError, "full", False),
        (DivergedError("nan"), DivergedError, "nan", False),
        (UserError("a.png is gone"), UserError, "a.png is gone", True),
        (UserError("Caught in worker 0.\nTrace\na.png is gone"), UserError, "a.png is gone", True),
        (RuntimeError("in gloo/transport/tcp"), UserError, "another of the processes", False),
        (RuntimeError("odd"), RuntimeError, "odd", False),
        (OSError(28, "No space left", "f"), WriteError, "f cannot be written (No space", False),
        (OSError(28, "No space left"), WriteError, "{folder} cannot be written (No space", False),
        (OSError("odd"), WriteError, "{folder} cannot be written (odd)", False),
    ],
)
def test_what_ends_a_fit_is_told_as_what_it_is(
    end: Exception,
    kind: type[Exception],
    line: str,
    note: bool,
    tiny_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    def stop(task: object, **options: object) -> None:
        asked.update(options)
        raise end

    monkeypatch.setattr(fit, "_trainer", lambda *given: SimpleNamespace(fit=stop))
    monkeypatch.setattr(Ended, "watch", lambda self: None)
    (stage, _) = stages(tiny_config, 96)
    task: Any = SimpleNamespace(config=tiny_config, stage=stage)
    data: Any = "the data"
    with pytest.raises(kind) as told:
        fit.fit(task, data, tmp_path, console=Console(quiet=True))
    assert type(told.value) is kind
    assert str(told.value).startswith(line.format(folder=tmp_path))
    assert asked == {"datamodule": "the data", "ckpt_path": None}
    again = f"put it right and go on with `iavit train --resume --output {tmp_path}`"
    assert getattr(told.value, "__notes__", []) == ([again] if note else [])
