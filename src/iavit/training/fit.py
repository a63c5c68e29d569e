"""One stage of training: fit a task from its last checkpoint on, and keep its best weights."""

from __future__ import annotations

import ctypes
import logging
import platform
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from torch.optim.swa_utils import get_ema_multi_avg_fn

from iavit.config import TrainingConfig
from iavit.data.loaders import loading_mistake
from iavit.errors import UserError
from iavit.training.callbacks import BadImages, MetricsFile, ProgressLine
from iavit.training.datamodule import DataModule
from iavit.training.task import Task

_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}

# Advice from lightning and torch that does not apply to what is done here.
_NEEDLESS = (
    ".*does not have many workers.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*exists and is not empty.*",
    ".*Trying to infer the `batch_size`.*",
    ".*The number of training batches.*is smaller than the logging interval.*",
    ".*srun.*",
    ".*resuming from a checkpoint that ended before the epoch.*",
    ".*The dirpath has changed.*",
)


def fit(
    task: Task,
    data: DataModule,
    folder: Path,
    *,
    console: Console,
    checkpoints: str = "checkpoints",
    first_step: int = 0,
    best_by: str = "val/loss",
) -> None:
    """Train the task's model in place and leave the weights of its best validation in it.

    Goes on from the last checkpoint where there is one.
    folder: the run's. checkpoints: the folder in it with `last.ckpt` and `best.ckpt`.
    first_step: steps of the run that were taken before this stage; `metrics.csv` counts on.
    best_by: the validation metric whose lowest value is the best.

    Raises `UserError` for images that cannot be read, a damaged checkpoint and a loss that is no
    number.
    """
    training = task.config.training
    last = last_checkpoint(folder / checkpoints)
    resumed = last if last.is_file() else None
    metrics = MetricsFile(folder / "metrics.csv", first_step)
    metrics.keep_until(first_step + (0 if resumed is None else _step_of(resumed)))
    callbacks: list[Callback] = [
        ModelCheckpoint(
            last.parent,
            filename="best",
            monitor=best_by,
            save_last=True,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        ),
        BadImages(folder),
        ProgressLine(console, task.steps, training.log_every, first_step),
    ]
    if training.ema:
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(training.ema)))
    _keep_freed_memory()
    with warnings.catch_warnings():
        for message in _NEEDLESS:
            warnings.filterwarnings("ignore", message)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = _trainer(training, folder, metrics, callbacks)
        try:
            trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)
        except UserError as error:
            raise loading_mistake(error) from error
    best = torch.load(last.with_name("best.ckpt"), map_location="cpu", weights_only=True)
    state = {k.removeprefix("model."): v for k, v in best["state_dict"].items()}
    task.model.cpu().load_state_dict(state)


def last_checkpoint(checkpoints: Path) -> Path:
    """Where a stage's training goes on from."""
    return checkpoints / "last.ckpt"


def _trainer(
    training: TrainingConfig, folder: Path, metrics: MetricsFile, callbacks: list[Callback]
) -> Trainer:
    return Trainer(
        accelerator=training.accelerator,
        devices=training.devices if not training.devices.isdigit() else int(training.devices),
        strategy=training.strategy,
        precision=_PRECISION[training.precision],  # type: ignore[arg-type]
        max_epochs=-1,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.clip or None,
        log_every_n_steps=training.log_every,
        logger=[metrics, TensorBoardLogger(folder, name="", version="tensorboard")],
        callbacks=callbacks,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic=True,
        default_root_dir=folder,
    )


def _keep_freed_memory() -> None:
    """Have glibc keep the memory of one step for the next.

    By default it returns large blocks to the system and asks for them again, page by page, at
    every step: a tenth of a small model's training time.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            libc.mallopt(option, 2**30)


def _step_of(checkpoint: Path) -> int:
    try:
        state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
        return int(state["global_step"])
    except Exception as error:  # whatever a damaged file makes of the reader
        raise UserError(
            f"{checkpoint} is damaged; remove it to train from the beginning"
        ) from error
