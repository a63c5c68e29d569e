"""`iavit attach`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from iavit.commands import train
from iavit.commands.command import Command
from iavit.config import RECIPES, Config
from iavit.console import say
from iavit.errors import UserError

STEPS = 2000  # of the interpreter, where the data set has no preset
# What `--help` shows: nothing of how a predictor is trained.
ESSENTIAL = (
    "data", "root", "backbone", "img_size", "pretrained", "weights", "classifier",
    "interpreter_steps", "interpreter_lr", "batch_size", "devices", "seed",
)  # fmt: skip


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Those of `train`, for a predictor that is kept.

    It comes by `--weights`, `--pretrained`, `--run`, or of any other kind by `--classifier`.
    """
    train.add_options(parser, given, ESSENTIAL, where="run directory, to be named")
    section = parser.add_argument_group("Classifier")
    section.add_argument(
        "--run", type=Path, help="run whose predictor is explained, and its settings"
    )
    asked = train.peek(given)
    if asked.get("resume"):
        return
    weights = asked.get("weights")
    if asked.get("run") is not None:
        from iavit.training.directory import read_config

        run = Path(asked["run"])
        parser.set_defaults(read_config(run).flat() | {"pretrained": False})
        weights = str(run / "model")
        parser.set_defaults({"weights": weights})
    if weights is not None and Path(weights).is_dir():
        parser.set_defaults(
            _described(Path(weights), asked.get("data", parser.get_default("data")))
        )
    if asked.get("classifier") is not None:
        parser.set_defaults(_for_file(asked.get("img-size")))
    parser.set_defaults(vars(RECIPES["faithful"]) | {"steps": 0, "epochs": None})
    if parser.get_defaults()["interpreter_steps"] is None:
        parser.set_defaults({"interpreter_steps": STEPS})


def execute(options: Namespace) -> None:
    """Train an interpreter for a classifier, whose weights stay as they are."""
    if options.output is None:
        raise UserError("`output`: name a folder for the run")
    if options.run is not None and options.weights != str(options.run / "model"):
        raise UserError("`run` and `weights`: give one of the two")
    if options.steps != 0:
        raise UserError(f"`steps` is {options.steps}; attach keeps the predictor: leave it at 0")
    if not (options.weights or options.pretrained or options.classifier):  # before images are read
        raise UserError(
            "a predictor that is not trained has to come from somewhere; give `run`, `weights`, "
            "`pretrained` or `classifier`"
        )
    config = Config.from_flat(options.as_dict())
    if options.dry_run:
        train.say_plan(config)
        return
    run = train.train_run(config, options.output, resume=options.resume)
    say(f"{options.output} explains the classifier: {run.saved.model.cost}.")
    say(f"next: iavit evaluate {options.output}")


def _described(folder: Path, data: str) -> dict[str, Any]:
    """The settings that a folder's description of its classifier decides.

    data: the set; how its pixels are normalised is a setting of one's own images alone.
    """
    from iavit.data.datasets import DATASETS
    from iavit.model.published import read_published

    if not (folder / "config.json").is_file():
        return {}
    found = read_published(folder)
    settings: dict[str, Any] = {"backbone": found.backbone, "img_size": found.img_size}
    if found.mean and data in DATASETS and DATASETS[data].images == "yours":
        settings |= {
            "mean": ",".join(map(str, found.mean)),
            "std": ",".join(map(str, found.std)),
        }
    return settings


def _for_file(img_size: str | None) -> dict[str, Any]:
    """The interpreter's own backbone beside a classifier from a file that reads such images."""
    from iavit.model.backbones import default_backbone

    pixels = int(img_size) if img_size is not None and img_size.isdecimal() else 0
    return {"backbone": default_backbone(pixels), "img_size": None}


COMMAND = Command("explain a classifier that you have, which stays as it is", add_options, execute)
