"""`iavit attach`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from iavit.commands import train
from iavit.commands.command import Command
from iavit.commands.console import say
from iavit.config import RECIPES, Config
from iavit.errors import UserError

STEPS = 2000  # of the interpreter, where the data set has no preset


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Those of `train`, for a predictor that is kept: `--weights`, `--pretrained` or `--run`."""
    train.add_options(parser, given)
    section = parser.add_argument_group("Classifier")
    section.add_argument(
        "--run", type=Path, default=None, help="run whose predictor is explained, and its settings"
    )
    if "--resume" in given:
        return
    run = train.peek(given).get("run")
    if run is not None:
        from iavit.training.directory import read_config

        parser.set_defaults(read_config(Path(run)).flat())
    parser.set_defaults(vars(RECIPES["faithful"]) | {"steps": 0, "epochs": None})
    if parser.get_defaults()["interpreter_steps"] is None:
        parser.set_defaults({"interpreter_steps": STEPS})


def execute(options: Namespace) -> None:
    """Train an interpreter for a classifier, whose weights stay as they are."""
    if options.output is None:
        raise UserError("`output`: name a folder for the run")
    values = options.as_dict()
    if options.run is not None:
        weights = options.run / "model" / "model.safetensors"
        values |= {"weights": str(weights), "pretrained": False}
    if values["steps"] != 0:
        raise UserError(f"`steps` is {values['steps']}; attach keeps the predictor: leave it at 0")
    config = Config.from_flat(values)
    if options.dry_run:
        train.say_plan(config)
        return
    train.train_run(config, options.output, resume=options.resume)
    say(f"{options.output} explains the classifier; next: iavit evaluate {options.output}")


COMMAND = Command("explain a classifier that you have, which stays as it is", add_options, execute)
