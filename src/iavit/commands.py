"""What each command does. Heavy imports happen inside, so that `--help` does not wait for them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import Namespace

from iavit.config import PRESETS, Config
from iavit.errors import UserError

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from iavit.evaluate.audit import Progress
    from iavit.evaluate.measurement import Settings
    from iavit.explain import Explainer
    from iavit.training.directory import Run


def demo(options: Namespace) -> None:
    """Train on the embedded digits, evaluate, explain a few test images, write the report."""
    from iavit.training.directory import is_finished

    preset = PRESETS["digits"]
    training = replace(
        preset.training, seed=options.seed, steps=options.steps or preset.training.steps
    )
    config = replace(preset, training=training)
    folder = options.output
    started = time.perf_counter()
    trained = is_finished(folder)
    if trained:
        _say(f"{folder} is trained already; remove it to train again.")
    else:
        _say(f"Training on real handwritten digits in clutter -> {folder}")
    run = _train(config, folder, resume=(folder / "config.yaml").is_file())
    if not trained:
        _say(f"Training took {time.perf_counter() - started:.0f} s.\n")
    from iavit.evaluate.measurement import Settings

    _evaluate(run, _explainers("quick"), None, folder, Settings())
    _explain_scenes(run)
    page = _report(run, folder, folder / "report")
    _say(f"\nThe whole way took {time.perf_counter() - started:.0f} s. Look at {page}")


def datasets(options: Namespace) -> None:
    """Print the data sets as a table."""
    from rich.table import Table

    from iavit.data.datasets import DATASETS

    root = None if options.root is None else Path(options.root)
    table = Table(
        "data set", "images (train + val + test)", "classes", "here", "how to get", "what"
    )
    for name, source in DATASETS.items():
        here = "no" if source.find(root) is None else "yes"
        table.add_row(name, source.images, source.classes, here, source.get, source.about)
    _console().print(table)


def train(options: Namespace) -> None:
    """Train by the options and leave the run in its directory."""
    folder = options.output or Path("runs") / options.data
    if options.resume and options.output is None:
        raise UserError("--resume: name the run with --output")
    config = Config.from_flat(options.as_dict())
    _train(config, folder, resume=options.resume)
    _say(f"{folder} is trained; next: iavit evaluate {folder}")


def evaluate(options: Namespace) -> None:
    """Measure a run on the test images, write `evaluation.json` and print its table."""
    explainers = _explainers(options.explainers)
    if options.images is not None and options.images < 1:
        raise UserError(f"--images is {options.images}; it must be at least 1")
    settings = _settings(options)
    run = _load(options)
    folder = options.output or run.folder
    _evaluate(
        run, explainers, options.images, folder, settings, leave_out=options.explainers == "all"
    )
    if folder.resolve() != run.folder.resolve():
        _say(f"As a page: iavit report {run.folder} --evaluation {folder}")


def explain(options: Namespace) -> None:
    """Write an overlay picture and print a JSON line for each image."""
    from iavit.data.decoding import read_image
    from iavit.report.overlay import explain_images

    if options.explainer == "all" or "," in options.explainer:
        raise UserError(f"--explainer {options.explainer}: name one; each has a map of its own")
    (explainer,) = _explainers(options.explainer).values()
    run = _load(options)
    pixel_range = run.saved.normalisation.pixel_range
    # All, before any is written.
    pictures = {path: read_image(path, pixel_range) for path in options.images}
    folder = options.output or run.folder / "explanations"
    for line in explain_images(run.saved, pictures, explainer, folder):
        print(json.dumps(line, ensure_ascii=False))


def report(options: Namespace) -> None:
    """Write a run's page, beside the evaluation that it tells of."""
    run = _load(options)
    evaluated = options.evaluation or run.folder
    page = _report(run, evaluated, options.output or evaluated / "report")
    _say(f"Look at {page}")


def reproduce(options: Namespace) -> None:
    """Carry out the paper's study of a data set, or go on with it."""
    from iavit.experiments.paper import reproduce as carry_out
    from iavit.experiments.variants import Choices

    choices = Choices(
        options.name,
        _seeds(options.seeds),
        options.settings,
        options.budget,
        options.root,
        options.weights,
    )
    folder = options.output or Path("runs") / f"reproduce-{options.name}"
    beside = [Path(name.strip()) for name in options.beside.split(",") if name.strip()]
    page = carry_out(choices, folder, _console(), beside)
    _say(f"Look at {page}")


def _seeds(told: str) -> tuple[int, ...]:
    """`a,b,c` are seeds; a single number is how many, from 0."""
    try:
        numbers = [int(word) for word in told.split(",") if word.strip()]
    except ValueError as error:
        raise UserError(f"--seeds is '{told}'; give how many, or which: 0,1,2") from error
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise UserError(f"--seeds is '{told}'; give how many, or which, each once: 0,1,2")
    seeds = tuple(numbers) if "," in told else tuple(range(numbers[0]))
    if not seeds:
        raise UserError("--seeds is 0; it must be at least 1")
    return seeds


def _train(config: Config, folder: Path, *, resume: bool) -> Run:
    from iavit.training.run import is_first_process
    from iavit.training.run import train as fit

    run = fit(config, folder, resume=resume, console=_console())
    if not is_first_process():
        raise SystemExit(0)  # what follows is for one process
    return run


def _evaluate(
    run: Run,
    explainers: dict[str, Explainer],
    count: int | None,
    folder: Path,
    settings: Settings,
    *,
    leave_out: bool = False,
) -> None:
    """Audit the run and write `evaluation.json` into the folder."""
    from iavit.data.datasets import load_dataset
    from iavit.evaluate.audit import audit
    from iavit.evaluate.evaluation_json import write_evaluation
    from iavit.evaluate.fairness import Names
    from iavit.files import make_folder
    from iavit.report.terminal import evaluation_tables, evaluation_warnings
    from iavit.training.directory import add_bad_images

    make_folder(folder)
    splits = load_dataset(run.config)
    images = splits.test.first(min(count or len(splits.test), len(splits.test)))
    with _progress() as progress:
        evaluation = audit(
            run.saved.model,
            images,
            explainers,
            dataset=run.config.data.data,
            seed=run.config.training.seed,
            settings=settings,
            leave_out=leave_out,
            progress=progress,
            names=Names(splits.attribute, splits.groups, splits.classes),
        )
    add_bad_images(run.folder, images.left_out)
    write_evaluation(folder, evaluation)
    console = _console()
    for table in evaluation_tables(evaluation):
        console.print(table)
    for line in evaluation_warnings(evaluation):
        _say(line)
    if run.config.data.data == "table" and not splits.groups:
        _say(f"No groups are compared: {run.config.data.root} has no column 'group'; add one.")
    for line in evaluation.fairness.undefined if evaluation.fairness else ():
        _say(f"Fairness by {splits.attribute}: {line}.")


def _settings(options: Namespace) -> Settings:
    """What `iavit evaluate` was asked to measure."""
    from iavit.evaluate.measurement import Settings
    from iavit.evaluate.metrics import optional_metrics
    from iavit.evaluate.protocols import PROTOCOLS
    from iavit.masking.substrates import SUBSTRATES

    return Settings(
        metrics=_named("metrics", options.metrics, optional_metrics()),
        target=options.target,
        score=options.score,
        substrates=_named("substrates", options.substrates, SUBSTRATES),
        points=options.points,
        copies=options.copies,
        protocol=_named("protocol", options.protocol, PROTOCOLS),
    )


def _explain_scenes(run: Run, count: int = 8) -> None:
    """Explain a few test images as if they had been brought as files."""
    from PIL import Image

    from iavit.data.datasets import load_dataset
    from iavit.explain import EXPLAINERS
    from iavit.files import make_folder
    from iavit.report.overlay import explain_images

    folder = make_folder(run.folder / "explanations")
    pictures = {}
    scenes = load_dataset(run.config).test
    pixels = scenes.normalisation.restore(scenes[range(count)].images)
    for number, picture in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        pictures[folder / f"scene-{number}.png"] = Image.fromarray(picture)
    for _ in explain_images(run.saved, pictures, EXPLAINERS["interpreter"], folder):
        pass


def _report(run: Run, evaluated: Path, folder: Path) -> Path:
    from iavit.data.datasets import load_dataset
    from iavit.report.page import write_page

    return write_page(run, load_dataset(run.config).test, evaluated, folder)


def _load(options: Namespace) -> Run:
    """The run that is named, its model on the device that is named."""
    from iavit.training.directory import load_run

    run = load_run(options.run)
    run.saved.model.to(_device(getattr(options, "device", "auto")))
    return run


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device: there is no device '{name}' here; use cpu") from error
    return device


def _explainers(names: str) -> dict[str, Explainer]:
    """Explainers by `a,b,c`, `quick` or `all`; `UserError` for an unknown one."""
    from iavit.explain import EXPLAINERS, SLOW

    if names == "quick":
        return {name: explain for name, explain in EXPLAINERS.items() if name not in SLOW}
    chosen = _named("explainers", names, EXPLAINERS)
    if not chosen:
        raise UserError(f"--explainers: name one or more of {', '.join(EXPLAINERS)}, quick or all")
    return {name: EXPLAINERS[name] for name in chosen}


def _named(option: str, names: str, known: Iterable[str]) -> tuple[str, ...]:
    """Names by `a,b,c`, `all` or `none`, each once; `UserError` for an unknown one."""
    import difflib

    everything = tuple(known)
    if names in ("all", "none"):
        return everything if names == "all" else ()
    chosen = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    for name in chosen:
        if name not in everything:
            near = difflib.get_close_matches(name, everything, n=3) or everything
            raise UserError(f"--{option}: there is no '{name}'; did you mean {', '.join(near)}?")
    return chosen


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar that tells what is being done and the time left."""
    from rich.progress import Progress as Bar
    from rich.progress import TextColumn, TimeRemainingColumn

    console = _console()
    bar = Bar(
        *Bar.get_default_columns()[:3],
        TimeRemainingColumn(),
        TextColumn("{task.fields[doing]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("evaluate", total=1.0, doing="a trial of each explainer")

        def told(doing: str, part: float) -> None:
            bar.update(task, advance=part, doing=doing)

        yield told


def _say(line: str) -> None:
    """A line that is not broken, so that its paths can be copied."""
    _console().print(line, soft_wrap=True)


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)
