"""A study's runs: each trained and measured once, those that fail named and passed over."""

from __future__ import annotations

import csv
import io
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from iavit.config import Config
from iavit.console import say
from iavit.data.datasets import load_dataset
from iavit.data.images import Images, Splits
from iavit.data.loaders import evaluation_loader
from iavit.data.sampling import sample
from iavit.errors import UserError
from iavit.evaluate.audit import audit
from iavit.evaluate.evaluation_json import write_evaluation
from iavit.evaluate.fairness import Names
from iavit.experiments.variants import VARIANTS, Choices, Planned
from iavit.explain import EXPLAINERS
from iavit.files import make_folder, write_text
from iavit.training.directory import Run, add_bad_images, is_finished, load_run, read_config
from iavit.training.run import train

BATCH = 250  # images a forward pass
COLUMNS = ("image", "label", "predictor", "interpreter", "group")
# What a run costs beside its steps, in steps: for the time that is left.
OVERHEAD = 60


@dataclass(frozen=True)
class Failed:
    """A run that did not come to its end, and why, in a line."""

    run: Planned
    reason: str


def check_folder(choices: Choices, runs: Sequence[Planned], folder: Path) -> None:
    """Refuse a folder that holds a study, or runs, of other settings; the difference is named.

    More seeds are no difference.
    """
    path = folder / "study.yaml"
    if path.is_file():
        try:
            before = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged; remove it, or choose another `output`") from error
        _refuse(before, _identity(choices), path)
    for run in runs:
        directory = folder / "runs" / run.name
        if (directory / "config.yaml").is_file():
            before = read_config(directory).flat()
            _refuse(before, run.config.flat(), directory / "config.yaml")


def _identity(choices: Choices) -> dict[str, Any]:
    """What may not differ between two calls on one folder, beside the runs' own settings."""
    return {
        "study": choices.study,
        "settings": choices.settings,
        "budget": choices.budget,
        "explained_images": choices.explained,
        "predicted_images": choices.predicted,
    }


def _refuse(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    changed = [
        f"{name} {before.get(name)} -> {value}"
        for name, value in now.items()
        if before.get(name) != value
    ]
    if changed:
        raise UserError(
            f"{path} has other settings ({', '.join(changed)}); "
            "give the same, or choose another `output`"
        )


def carry_out(
    choices: Choices, runs: Sequence[Planned], folder: Path, console: Console
) -> list[Failed]:
    """Train and measure what is not there yet; returns the runs that failed.

    Raises `UserError` where the data set cannot be loaded at all: then every run would fail.
    """
    load_dataset(runs[0].config)
    make_folder(folder)
    write_text(folder / "study.yaml", yaml.safe_dump(_identity(choices), sort_keys=False))
    todo = [run for run in runs if not is_done(folder, run)]
    if len(todo) < len(runs):
        say(f"{len(runs) - len(todo)} of {len(runs)} runs are there already.", console)
    failed: list[Failed] = []
    splits = LastSplits()
    with _Watch(console, todo) as watch:
        for run in todo:
            watch.next(run)
            try:
                _carry_out(choices, run, folder, splits.load(run.config), watch.say)
            except Exception as error:  # the others go on, whatever happened to this one
                failed.append(_failed(run, error, folder))
            watch.done(run, failed[-1].reason if failed and failed[-1].run is run else "")
    return failed


def is_done(folder: Path, run: Planned) -> bool:
    """Whether a run was trained and measured to the end."""
    directory = folder / "runs" / run.name
    measured = ("evaluation.json", "predictions.csv")
    return is_finished(directory) and all((directory / name).is_file() for name in measured)


def _failed(run: Planned, error: Exception, folder: Path) -> Failed:
    """A failure in a line; what is no mistake of the user's is left with its traceback."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, UserError):
        directory = folder / "runs" / run.name
        directory.mkdir(parents=True, exist_ok=True)
        write_text(directory / "failure.txt", "".join(traceback.format_exception(error)))
        reason = f"{type(error).__name__}: {reason}"
    return Failed(run, reason)


class LastSplits:
    """The data set that was loaded last: most runs want the same as the one before."""

    def __init__(self) -> None:
        self.key: object = None
        self.splits: Splits | None = None

    def load(self, config: Config) -> Splits:
        model = config.model
        key = (asdict(config.data), model.backbone, model.img_size, config.training.seed)
        if self.splits is None or key != self.key:
            self.splits = None  # freed before the next is read
            self.key, self.splits = key, load_dataset(config)
        return self.splits


def _carry_out(
    choices: Choices, run: Planned, folder: Path, splits: Splits, say: Callable[[str], None]
) -> None:
    directory = folder / "runs" / run.name
    started = (directory / "config.yaml").is_file()
    say("training")
    trained = train(
        run.config, directory, resume=started, console=Console(quiet=True), splits=splits
    )
    _measure(choices, run, trained, splits, say)


def _measure(
    choices: Choices, run: Planned, trained: Run, splits: Splits, say: Callable[[str], None]
) -> None:
    """Write `predictions.csv`, then `evaluation.json`, which says that all is done."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trained.saved.model.to(device)
    predicted = sample(splits.test, choices.predicted)
    say("predictions")
    write_predictions(trained, predicted, VARIANTS[run.variant].interprets)
    evaluation = audit(
        trained.saved.model,
        sample(splits.test, choices.explained),
        {name: EXPLAINERS[name] for name in run.explainers},
        dataset=choices.study,
        seed=run.seed,
        names=names_of(splits),
        drawn_from=len(splits.test),
        progress=lambda doing, done: say(doing),
    )
    add_bad_images(trained.folder, predicted.left_out)
    write_evaluation(trained.folder, evaluation)


def names_of(splits: Splits) -> Names:
    """What groups and classes of a data set are called."""
    return Names(splits.attribute, splits.groups, splits.classes)


@torch.inference_mode()
def write_predictions(run: Run, images: Images, interprets: bool) -> None:
    """`predictions.csv`: a row a test image, its label, what both branches say, its group.

    Numbers of classes and groups; the interpreter's cell is empty where it was not trained.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    device, at = next(run.saved.model.parameters()).device, 0
    run.saved.model.eval()
    for batch in evaluation_loader(images, BATCH):
        output = run.saved.model(batch.images.to(device))
        count = len(batch)
        columns: tuple[Sequence[object], ...] = (
            range(at, at + count),
            batch.labels.tolist(),
            output.logits.argmax(dim=-1).tolist(),
            output.interpreter_logits.argmax(dim=-1).tolist() if interprets else [""] * count,
            [""] * count if batch.groups is None else batch.groups.tolist(),
        )
        table.writerows(zip(*columns, strict=True))
        at += count
    write_text(run.folder / "predictions.csv", text.getvalue())


def read_predictions(directory: Path) -> dict[str, Tensor]:
    """The columns of `predictions.csv` that are filled, (n,) int64 each."""
    with (directory / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    filled = [column for column in COLUMNS if rows and rows[0][column]]
    return {column: torch.tensor([int(row[column]) for row in rows]) for column in filled}


def load_done(folder: Path, run: Planned) -> Run:
    """A run that is done, its model ready."""
    return load_run(folder / "runs" / run.name)


class _Watch:
    """What a person sees: which run of how many, what is done with it, and the time left.

    A bar on a terminal; elsewhere a line a run.
    """

    def __init__(self, console: Console, runs: Sequence[Planned]) -> None:
        self.console, self.runs = console, runs
        self.total = sum(map(_cost, runs))
        self.spent, self.number = 0, 0
        self.started = time.perf_counter()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeRemainingColumn(),
            TextColumn("{task.fields[doing]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=3600,
        )
        self.task = self.bar.add_task("", total=self.total, doing="")

    def __enter__(self) -> _Watch:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def next(self, run: Planned) -> None:
        self.number += 1
        self.run_started = time.perf_counter()
        self.bar.update(self.task, description=f"run {self.number} of {len(self.runs)}: {run.name}")

    def say(self, doing: str) -> None:
        self.bar.update(self.task, doing=doing)

    def done(self, run: Planned, failure: str) -> None:
        self.spent += _cost(run)
        self.bar.update(self.task, completed=self.spent, doing="")
        now = time.perf_counter()
        left = (now - self.started) / self.spent * (self.total - self.spent)
        outcome = f"failed: {failure}" if failure else f"{now - self.run_started:.0f} s"
        place = f"[{self.number}/{len(self.runs)}]"
        say(f"{place} {run.name}: {outcome}; about {left / 60:.0f} min left", self.console)


def _cost(run: Planned) -> int:
    return (run.config.training.steps or 0) + OVERHEAD
