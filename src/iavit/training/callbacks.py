"""What a person sees of a run while it goes on, and what is left of it: bar and metrics.csv."""

from __future__ import annotations

import csv
import io
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from iavit.files import write_text
from iavit.training.directory import add_bad_images
from iavit.types import Batch


class MetricsFile(Logger):
    """`metrics.csv`: a row a logged step, training and validation side by side.

    On resuming, the rows up to the checkpoint's step are kept and later ones replaced.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
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
        """Read the rows of the run that is resumed."""
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = {int(row.pop("step")): row for row in csv.DictReader(file)}
            self.rows = {at: row for at, row in rows.items() if at <= step}

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {name: f"{value:.6g}" for name, value in metrics.items() if name != "epoch"}
        done = (step or 0) + 1  # lightning counts from 0
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


class BadImages(Callback):
    """Adds the files that batches had to leave out to the run's `bad_images.txt`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if batch.left_out:
            add_bad_images(self.folder, batch.left_out)


class ProgressLine(Callback):
    """A bar with the named losses and both accuracies; a line for each validation."""

    def __init__(self, console: Console, steps: int, log_every: int) -> None:
        self.console = console
        self.steps = steps
        self.log_every = log_every
        self.bar = Progress(
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=24),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self.shown: TaskID | None = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.shown = self.bar.add_task("", total=self.steps, completed=trainer.global_step)
        if trainer.is_global_zero and self.console.is_terminal:
            self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self.shown is not None
        if trainer.global_step % self.log_every == 0:
            self.bar.update(self.shown, description=_told(trainer, "train"))
        self.bar.update(self.shown, completed=trainer.global_step)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            self.console.print(
                f"step {trainer.global_step:>6}/{self.steps}  {_told(trainer, 'val')}",
                highlight=False,
                soft_wrap=True,
            )

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self.bar.stop()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.bar.stop()


def _told(trainer: Trainer, stage: str) -> str:
    """The stage's metrics in one line: losses as numbers, accuracies in per cent."""
    told = []
    for name, value in trainer.callback_metrics.items():
        if name.startswith(f"{stage}/"):
            short = name.removeprefix(f"{stage}/")
            if short.endswith("_accuracy"):
                told.append(f"{short.removesuffix('_accuracy')} {100 * float(value):.1f} %")
            else:
                told.append(f"{short} {float(value):.3g}")
    return "  ".join(told)
