"""What a run shows and records while it trains: the progress bar, metrics.csv, bad_images.txt."""

from __future__ import annotations

import csv
import io
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column

from iavit.console import say
from iavit.errors import UserError
from iavit.files import write_text
from iavit.training.directory import add_bad_images
from iavit.types import Batch

QUIET = 30.0  # seconds after which a run that is not watched on a terminal prints a line


class MetricsFile(Logger):
    """`metrics.csv`: a row a logged step, training and validation side by side.

    On resuming, the rows up to the checkpoint's step are kept and later ones replaced.
    first_step: steps of the run before the fit that is logged.
    """

    def __init__(self, path: Path, first_step: int) -> None:
        super().__init__()
        self.path = path
        self.first_step = first_step
        self.rows: dict[int, dict[str, str]] = {}

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: the settings are in `config.yaml`."""

    def keep_until(self, step: int) -> None:
        """Read the rows that the run has already, up to a step."""
        if self.path.exists():
            try:
                with self.path.open(newline="", encoding="utf-8") as file:
                    rows = {int(row.pop("step")): row for row in csv.DictReader(file)}
            except (ValueError, KeyError, csv.Error) as error:
                raise UserError(
                    f"{self.path} is damaged; remove it to go on without its rows"
                ) from error
            self.rows = {number: row for number, row in rows.items() if number <= step}

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {name: f"{value:.6g}" for name, value in metrics.items() if name != "epoch"}
        done = self.first_step + (step or 0) + 1  # lightning counts from 0
        self.rows.setdefault(done, {}).update(values)

    @rank_zero_only
    def save(self) -> None:
        names = sorted({name for row in self.rows.values() for name in row})
        text = io.StringIO()
        table = csv.DictWriter(text, ["step", *names], restval="", lineterminator="\n")
        table.writeheader()
        for step in sorted(self.rows):
            table.writerow({"step": step, **self.rows[step]})
        write_text(self.path, text.getvalue())

    def finalize(self, status: str) -> None:
        self.save()


class Curves(TensorBoardLogger):
    """`tensorboard/`: the same rows as curves. first_step: as in `MetricsFile`."""

    def __init__(self, folder: Path, first_step: int) -> None:
        super().__init__(folder, name="", version="tensorboard")
        self.first_step = first_step

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(metrics, self.first_step + (step or 0))


class BadImages(Callback):
    """Adds the files that a batch had to leave out to the run's `bad_images.txt`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if batch.left_out:
            add_bad_images(self.folder, batch.left_out)


class ProgressLine(Callback):
    """A bar with the named losses and both accuracies; a line for each validation.

    Counts and the time left stand first and whole; the losses fill what is left of the line. Where
    there is no terminal, a line every half minute shows that the run goes on.

    steps: of this fit. first_step: steps of the run before it.
    """

    def __init__(self, console: Console, steps: int, log_every: int, first_step: int) -> None:
        self.console = console
        self.steps = first_step + steps
        self.log_every = log_every
        self.first_step = first_step
        rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self.bar = Progress(
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=24),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}", table_column=rest),
            console=console,
            transient=True,
            expand=True,
        )
        self.last_line = time.monotonic()
        self.line: TaskID | None = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.line = self.bar.add_task("", total=self.steps, completed=self._step(trainer))
        if trainer.is_global_zero and self.console.is_terminal:
            self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self.line is not None
        if trainer.global_step % self.log_every == 0:
            self.bar.update(self.line, description=_summary(trainer, "train"))
        self.bar.update(self.line, completed=self._step(trainer))
        waited = time.monotonic() - self.last_line
        if waited > QUIET and trainer.is_global_zero and not self.console.is_terminal:
            self._print(trainer, "train")

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            self._print(trainer, "val")

    def _print(self, trainer: Trainer, stage: str) -> None:
        self.last_line = time.monotonic()
        line = f"step {self._step(trainer):>6}/{self.steps}  {_summary(trainer, stage)}"
        say(line, self.console)

    def _stop(self) -> None:
        if self.bar.live.is_started:  # else it would print an empty line
            self.bar.stop()

    def _step(self, trainer: Trainer) -> int:
        return self.first_step + trainer.global_step

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._stop()


def _summary(trainer: Trainer, stage: str) -> str:
    """The stage's metrics in one line: losses as numbers, accuracies in per cent."""
    parts = []
    for name, value in trainer.callback_metrics.items():
        if name.startswith(f"{stage}/"):
            short = name.removeprefix(f"{stage}/")
            if short.endswith("_accuracy"):
                parts.append(f"{short.removesuffix('_accuracy')} {100 * float(value):.1f} %")
            else:
                parts.append(f"{short} {float(value):.3g}")
    return "  ".join(parts)
