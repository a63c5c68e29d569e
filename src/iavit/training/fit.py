"""One stage of training: fit a task from its last checkpoint on, and keep its best weights."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loggers import Logger
from rich.console import Console
from torch.optim.swa_utils import get_ema_multi_avg_fn

from iavit.config import TrainingConfig
from iavit.console import say
from iavit.data.loaders import loading_mistake
from iavit.errors import DivergedError, UserError, WriteError
from iavit.training.callbacks import BadImages, Curves, MetricsFile, ProgressLine
from iavit.training.checkpoints import (
    Checkpoints,
    SealedFiles,
    best,
    first_whole,
    last,
    read_checkpoint,
)
from iavit.training.datamodule import DataModule
from iavit.training.processes import Ended, WholeBatchNorms, ended, is_of_another
from iavit.training.task import Task

PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}

# Advice from lightning and torch that does not apply to what is done here.
_NEEDLESS = (
    ".*does not have many workers.*",
    ".*isinstance.treespec, LeafSpec.*",
    ".*exists and is not empty.*",
    ".*Trying to infer the `batch_size`.*",
    ".*The number of training batches.*is smaller than the logging interval.*",
    ".*srun.*",
    ".*resuming from a checkpoint that ended before the epoch.*",
    ".*in eval mode at the start of training.*",  # a frozen part is so at every step
)


def fit(
    task: Task,
    data: DataModule,
    folder: Path,
    *,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train what learns in the task's stage, and leave its best validation's weights in the model.

    Goes on from the last checkpoint where there is one.
    folder: the run's. callbacks: that look on, beside those that record the run.

    Raises `UserError` for images that cannot be read, a damaged checkpoint and a loss that is no
    number.
    """
    training, stage = task.config.training, task.stage
    place = folder / stage.checkpoints
    # Where the last one is damaged, the best one, which is older, leads to the same weights.
    resumed = first_whole((last(place), best(place)), console)
    done = 0 if resumed is None else int(resumed[1]["global_step"])
    if done < stage.steps:
        metrics = MetricsFile(folder / "metrics.csv", stage.first_step)
        metrics.keep_until(stage.first_step + done)
        curves = Curves(folder, stage.first_step)
        watching: list[Callback] = [
            *callbacks,
            Checkpoints(place, stage.best_by),
            BadImages(folder),
            ProgressLine(console, stage.steps, training.log_every, stage.first_step),
        ]
        if training.ema and stage.needs_labels:
            watching.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(training.ema)))
        keep_freed_memory()
        with _quiet():
            Ended(folder).watch()
            trainer = _trainer(training, folder, [metrics, curves], watching)
            try:
                trainer.fit(task, datamodule=data, ckpt_path=resumed and resumed[0])
            except (WriteError, DivergedError):
                raise
            except UserError as error:  # of images that changed or vanished, say
                # A loading process sends its traceback with it.
                mistake = loading_mistake(error) if "\n" in str(error) else error
                mistake.add_note(
                    f"put it right and go on with `iavit train --resume --output {folder}`"
                )
                raise mistake from error.__cause__
            except RuntimeError as error:
                if not is_of_another(error):
                    raise
                raise UserError(ended(folder)) from error
            except OSError as error:
                path = os.fsdecode(error.filename or folder)
                raise WriteError(f"{path} cannot be written ({error.strerror or error})") from error
    state = _best_of(place, console)["state_dict"]
    state = {k.removeprefix("model."): v for k, v in state.items()}
    task.model.cpu().load_state_dict(state)


def check_devices(training: TrainingConfig) -> None:
    """Raise `UserError` for devices or arithmetic that this machine does not have."""
    with _quiet():
        warnings.filterwarnings("error", ".*fp16 is not supported.*")  # and takes bf16 instead
        try:
            _trainer(training, None, [], [])
        except (MisconfigurationException, ValueError, TypeError, RuntimeError, Warning) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"`accelerator` {training.accelerator}, `devices` {training.devices}, `strategy` "
                f"{training.strategy}, `precision` {training.precision}: {reason}"
            ) from error


def _best_of(place: Path, console: Console) -> dict[str, Any]:
    if best(place).is_file():
        try:
            return read_checkpoint(best(place))
        except UserError as error:
            raise UserError(f"{error}; remove it to take the last weights, and resume") from error
    say(f"{best(place)} is gone; the model has the weights of {last(place)}", console)
    return read_checkpoint(last(place))


def _trainer(
    training: TrainingConfig, folder: Path | None, loggers: list[Logger], callbacks: list[Callback]
) -> Trainer:
    return Trainer(
        accelerator=training.accelerator,
        devices=training.devices if not training.devices.isdigit() else int(training.devices),
        strategy=training.strategy,
        precision=PRECISION[training.precision],  # type: ignore[arg-type]
        max_epochs=-1,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.clip or None,
        log_every_n_steps=training.log_every,
        logger=loggers,
        callbacks=callbacks,
        plugins=[SealedFiles(), WholeBatchNorms()],
        num_sanity_val_steps=0,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic=True,
        default_root_dir=folder,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without advice that does not apply, and without the traceback of a thread that writes curves.

    What ended that thread ends the fit as well, by the next thing it is given to write.
    """
    before = threading.excepthook

    def hook(end: threading.ExceptHookArgs) -> None:
        if not issubclass(end.exc_type, OSError):
            before(end)

    threading.excepthook = hook
    try:
        with warnings.catch_warnings():
            for message in _NEEDLESS:
                warnings.filterwarnings("ignore", message)
            logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
            yield
    finally:
        threading.excepthook = before


def keep_freed_memory() -> None:
    """Have glibc keep the memory of one step for the next.

    By default it returns large blocks to the system and asks for them again, page by page, at
    every step: a tenth of a small model's training time.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            libc.mallopt(option, 2**30)
