"""`iavit demo`: all commands in a row, on data that is at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.commands.evaluate import evaluate_run
from iavit.commands.report import write_report
from iavit.commands.selection import choose_explainers
from iavit.config import PRESETS
from iavit.console import console, say
from iavit.errors import UserError

if TYPE_CHECKING:
    from iavit.training.directory import Run

# Of the predictor and of the interpreter: shorter than the preset's, for four minutes on two cores,
# where a step of the interpreter takes about 1.7 of the predictor's.
STEPS = (2800, 1600)
PICTURE_EVERY = 100  # steps between previews: the first comes before the first validation


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="run directory")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same run")
    parser.add_argument("--steps", type=int, help="train shorter or longer")


def execute(options: Namespace) -> None:
    """Train on the embedded digits, evaluate, explain a few test images, write the report."""
    from iavit.data.datasets import load_dataset
    from iavit.evaluate.measurement import Settings
    from iavit.handover.preview import Preview
    from iavit.training.directory import is_finished
    from iavit.training.run import train

    preset = PRESETS["digits"]
    if options.steps is not None and options.steps < 1:
        raise UserError(f"`steps` is {options.steps}; it must be at least 1")
    steps = STEPS if options.steps is None else (options.steps, options.steps)
    training = replace(
        preset.training, seed=options.seed, steps=steps[0], interpreter_steps=steps[1]
    )
    config = replace(preset, training=training)
    folder = options.output
    started = time.perf_counter()
    trained = is_finished(folder)
    if trained:
        say(f"{folder} is trained already; remove it to train again.")
    else:
        say(f"Training on real handwritten digits in clutter -> {folder}")
    splits, shown = load_dataset(config), console()
    preview = Preview(splits, folder, shown, PICTURE_EVERY)
    resume = (folder / "config.yaml").is_file()
    run = train(config, folder, resume=resume, console=shown, splits=splits, callbacks=[preview])
    if not trained:
        say(f"Training took {time.perf_counter() - started:.0f} s.\n")
    evaluate_run(run, choose_explainers("quick"), Settings(), folder)
    _explain_scenes(run)
    page = write_report(run, folder, folder / "report")
    say(f"\nThe whole way took {time.perf_counter() - started:.0f} s. Look at {page}")


def _explain_scenes(run: Run, count: int = 8) -> None:
    """Explain a few test images as if they had been brought as files."""
    from PIL import Image

    from iavit.data.datasets import load_dataset
    from iavit.files import make_folder
    from iavit.handover.classifier import Classifier
    from iavit.handover.explaining import explain_pictures
    from iavit.handover.writing import name_explanations, write_explanations

    scenes = load_dataset(run.config).test
    pixels = scenes.normalisation.restore(scenes[range(count)].images)
    pictures = {
        f"scene-{number}.png": Image.fromarray(picture)
        for number, picture in enumerate(pixels.permute(0, 2, 3, 1).numpy())
    }
    folder = make_folder(run.folder / "explanations")
    measured = Classifier(run.saved, run.folder).sufficient
    explained = explain_pictures(run.saved, pictures.items(), sufficient=measured)
    for _ in write_explanations(explained, folder, name_explanations(list(pictures), folder)):
        pass


COMMAND = Command("train, evaluate, explain and report on data that is here", add_options, execute)
