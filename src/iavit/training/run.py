"""A run from its settings to its directory: fit and resume."""

from __future__ import annotations

import ctypes
import logging
import platform
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch.optim.swa_utils import get_ema_multi_avg_fn

from iavit.config import Config
from iavit.data.datasets import load_dataset
from iavit.data.images import Splits
from iavit.data.loaders import loading_mistake
from iavit.errors import UserError
from iavit.files import make_folder, write_text
from iavit.model.checkpoints import load_weights
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved, save_model
from iavit.training.callbacks import BadImages, MetricsFile, ProgressLine
from iavit.training.datamodule import DataModule
from iavit.training.directory import (
    Run,
    add_bad_images,
    is_finished,
    load_run,
    read_config,
)
from iavit.training.finetune import freeze
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


def train(
    config: Config,
    folder: Path,
    *,
    resume: bool = False,
    console: Console | None = None,
    splits: Splits | None = None,
) -> Run:
    """Train by the settings and leave everything in the run directory.

    The checkpoint with the lowest validation loss becomes the model; the test images are never
    looked at. With `resume`, goes on from the last checkpoint, to the same weights as a run
    that never stopped. Of several processes that train together the first writes.
    splits: the data set that the settings name, where it was loaded for another run.

    Raises `UserError` for settings that cannot be carried out, a directory that holds another
    run, and a loss that is no number.
    """
    writes = is_first_process()
    console = (console or Console()) if writes else Console(quiet=True)
    _check(config)
    if writes:
        _check_folder(config, folder, resume)
    if resume and is_finished(folder):
        return load_run(folder)
    splits = splits or load_dataset(config)
    left_out = splits.train.left_out + splits.val.left_out  # reads both: a mistake shows now
    _check_pairs(config, len(splits.train))
    seed_everything(config.training.seed, verbose=False)
    model = _create_model(config, splits)
    if config.model.weights is not None and not _last(folder).is_file():
        loaded = load_weights(model, Path(config.model.weights))
        console.print(str(loaded), highlight=False, soft_wrap=True)
    if config.training.freeze:
        freeze(model, config.training.unfreeze_last)
    if writes:
        make_folder(folder)
        write_text(folder / "config.yaml", yaml.safe_dump(config.flat(), sort_keys=False))
        add_bad_images(folder, left_out)
    _fit(model, splits, config, folder, console)
    saved = Saved(model.eval(), splits.classes, splits.normalisation)
    if writes:
        save_model(saved, folder / "model")
    return Run(folder, config, saved)


def is_first_process() -> bool:
    """Whether this is the only process that trains, or the first of those that do so together."""
    # From the environment that lightning or a launcher sets.
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]


def total_steps(config: Config, images: int) -> int:
    """Optimiser steps of a run over so many training images."""
    training = config.training
    if training.steps is not None:
        return training.steps
    each = max(1, images // (config.data.batch_size * training.accumulate))
    return max(1, round((training.epochs or 1) * each))


def _fit(model: IAViT, splits: Splits, config: Config, folder: Path, console: Console) -> None:
    """Train the model in place and leave the best checkpoint's weights in it."""
    training = config.training
    steps = total_steps(config, len(splits.train))
    task = Task(model, config, steps)
    metrics = MetricsFile(folder / "metrics.csv")
    checkpoints = ModelCheckpoint(
        folder / "checkpoints",
        filename="best",
        monitor="val/loss",
        save_last=True,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    callbacks: list[Callback] = [
        checkpoints,
        BadImages(folder),
        ProgressLine(console, steps, training.log_every),
    ]
    if training.ema:
        average = get_ema_multi_avg_fn(training.ema)
        callbacks.append(WeightAveraging(multi_avg_fn=average))
    resumed = _last(folder) if _last(folder).is_file() else None
    if resumed is not None:
        metrics.keep_until(_step_of(resumed))
    _keep_freed_memory()
    with warnings.catch_warnings():
        for message in _NEEDLESS:
            warnings.filterwarnings("ignore", message)
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = Trainer(
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
        data = DataModule(splits, config, steps * training.accumulate)
        try:
            trainer.fit(task, datamodule=data, ckpt_path=resumed, weights_only=True)
        except UserError as error:
            raise loading_mistake(error) from error
    best = torch.load(folder / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)
    state = {k.removeprefix("model."): v for k, v in best["state_dict"].items()}
    model.cpu().load_state_dict(state)


def _last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def _keep_freed_memory() -> None:
    """Tell glibc to keep the memory of one step for the next.

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


def _create_model(config: Config, splits: Splits) -> IAViT:
    return IAViT.create(
        config.model.backbone,
        len(splits.classes),
        config.model.img_size,
        config.model.pretrained,
        interpreter_head=config.model.interpreter_head,
        attention_gradient=config.objective.attention_gradient,
        attention_layers=config.model.attention_layers,
        attention_queries=config.model.attention_queries,
        drop_path=config.model.drop_path,
    )


def _check(config: Config) -> None:
    """Refuse numbers that make no sense before anything is written."""
    training = config.training
    if training.steps is not None and training.epochs is not None:
        raise UserError("--steps and --epochs: give one of the two")
    at_least_one = {
        "--batch-size": config.data.batch_size,
        "--steps": training.steps or (1 if training.steps is None else 0),
        "--accumulate": training.accumulate,
        "--validate-every": training.validate_every,
        "--log-every": training.log_every,
    }
    for option, value in at_least_one.items():
        if value < 1:
            raise UserError(f"{option} is {value}; it must be at least 1")
    if config.data.workers < 0:
        raise UserError(f"--workers is {config.data.workers}; it must be at least 0")
    positive = {"--lr": training.lr, "--temperature": config.objective.temperature}
    for option, number in positive.items():
        if not number > 0:
            raise UserError(f"{option} is {number}; it must be above 0")
    _check_objective(config)
    _check_finetuning(config)
    if config.model.pretrained and config.model.weights is not None:
        raise UserError("--pretrained and --weights: give one of the two")
    if training.epochs is not None and not training.epochs > 0:
        raise UserError(f"--epochs is {training.epochs}; it must be above 0")


def _check_objective(config: Config) -> None:
    settings = vars(config.objective)
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        if name.endswith("_weight") and not value >= 0:
            raise UserError(f"{option} is {value}; it must be at least 0")
        if name.endswith(("_share", "_from")) and not 0 <= value <= 1:
            raise UserError(f"{option} is {value}; it must be from 0 to 1")


def _check_finetuning(config: Config) -> None:
    training = config.training
    shares = {
        "--label-smoothing": config.objective.label_smoothing,
        "--ema": training.ema,
        "--drop-path": config.model.drop_path,
    }
    for option, share in shares.items():
        if not 0 <= share < 1:
            raise UserError(f"{option} is {share}; it must be at least 0 and below 1")
    for option, alpha in {"--mixup": training.mixup, "--cutmix": training.cutmix}.items():
        if not alpha >= 0:
            raise UserError(f"{option} is {alpha}; it must be at least 0")
    if not 0 < training.layer_decay <= 1:
        raise UserError(f"--layer-decay is {training.layer_decay}; it must be above 0, at most 1")
    if training.unfreeze_last and not training.freeze:
        raise UserError("--unfreeze-last: give --freeze with it")


def _check_pairs(config: Config, images: int) -> None:
    size = min(config.data.batch_size, images)
    if (config.training.mixup or config.training.cutmix) and size % 2:
        raise UserError(
            f"--mixup and --cutmix mix images in pairs, and a batch has {size}; "
            "give an even --batch-size"
        )


def _check_folder(config: Config, folder: Path, resume: bool) -> None:
    if resume:
        before, now = read_config(folder).flat(), config.flat()
        changed = [
            f"--{name.replace('_', '-')} {before[name]} -> {now[name]}"
            for name in now
            if before[name] != now[name]
        ]
        if changed:
            raise UserError(
                f"--resume: the settings differ from {folder / 'config.yaml'} "
                f"({', '.join(changed)}); resume with the same, or choose another --output"
            )
    elif folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is a file; choose a folder")
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"--output {folder} is not empty; give --resume to go on, or choose another folder"
        )
