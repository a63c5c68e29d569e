"""What a run will take, from a few steps of it that are taken and thrown away."""

from __future__ import annotations

import logging
import resource
import statistics
import time
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from iavit.config import Config, TrainingConfig
from iavit.training.datamodule import DataModule
from iavit.training.fit import PRECISION, keep_freed_memory
from iavit.training.task import Task

WARM_UP = 2  # batches that are not timed
BATCHES = 7


@dataclass(frozen=True)
class Plan:
    """A run before it is taken.

    parameters, learning: numbers in the model, and those that training changes.
    images: of the training set. batch: images of an optimiser step. steps: of the run.
    step_seconds: of one step, loading included. validation_seconds: of one validation.
    validations: how many there are.
    memory: most bytes that this process has held; device_memory: those of a GPU, or 0.
    """

    parameters: int
    learning: int
    images: int
    batch: int
    steps: int
    step_seconds: float
    validation_seconds: float
    validations: int
    memory: int
    device_memory: int

    @property
    def passes(self) -> float:
        """Over the training images."""
        return self.steps * self.batch / self.images

    @property
    def seconds(self) -> float:
        return self.steps * self.step_seconds + self.validations * self.validation_seconds

    def lines(self) -> tuple[str, ...]:
        """As a person reads it."""
        device = (
            f", {self.device_memory / 2**30:.1f} GiB of the GPU's" if self.device_memory else ""
        )
        return (
            f"parameters   {self.parameters:,}, of which {self.learning:,} learn",
            f"memory       {self.memory / 2**30:.1f} GiB at most so far{device}",
            f"steps        {self.steps:,} of {self.batch} images",
            f"passes       {self.passes:.1f} over {self.images:,} training images",
            f"a step       {1000 * self.step_seconds:.0f} ms, loading included",
            f"validations  {self.validations} of {self.validation_seconds:.1f} s",
            f"time         {duration(self.seconds)}",
        )


def plan(task: Task, data: DataModule, config: Config, steps: int) -> Plan:
    """Take a few steps of a run of so many, and say what all of it will take.

    config: of the run. task, data: as the run's, but with `BATCHES` between two validations.
    """
    training = config.training
    clock = _Clock()
    trainer = _trainer(training, clock)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    keep_freed_memory()  # as the run will
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice that a few steps do not need
        trainer.fit(task, datamodule=data)
    validation = _validation_seconds(task, data)
    parameters = list(task.model.parameters())
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    return Plan(
        parameters=sum(parameter.numel() for parameter in parameters),
        learning=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        images=len(data.splits.train),
        batch=config.data.batch_size * training.accumulate * trainer.world_size,
        steps=steps,
        step_seconds=statistics.median(clock.seconds) * training.accumulate,
        validation_seconds=validation,
        validations=-(-steps // training.validate_every),
        memory=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        device_memory=torch.cuda.max_memory_allocated() if cuda else 0,
    )


class _Clock(Callback):
    """Seconds of each batch after the first ones, from the end of the one before it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.ended = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if module.device.type == "cuda":
            torch.cuda.synchronize(module.device)
        now = time.perf_counter()
        if batch_idx >= WARM_UP:
            self.seconds.append(now - self.ended)
        self.ended = now


def _trainer(training: TrainingConfig, clock: _Clock) -> Trainer:
    """The run's own arithmetic and device; nothing is written."""
    return Trainer(
        accelerator=training.accelerator,
        devices=1,
        precision=PRECISION[training.precision],  # type: ignore[arg-type]
        max_epochs=1,
        limit_train_batches=BATCHES,
        limit_val_batches=0,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.clip or None,
        logger=False,
        callbacks=[clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic=True,
    )


@torch.no_grad()
def _validation_seconds(task: Task, data: DataModule) -> float:
    """Of all validation images, by one batch of them."""
    loader = data.val_dataloader()
    device = next(task.model.parameters()).device
    started = time.perf_counter()
    batch = next(iter(loader))
    float(task.model.eval()(batch.images.to(device)).logits.sum())  # waits for the device
    return (time.perf_counter() - started) * len(data.splits.val) / len(batch)


def duration(seconds: float) -> str:
    """In the unit that a person would choose."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
