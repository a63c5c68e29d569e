"""`iavit train`."""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.config import PRESETS, Config, starting_point
from iavit.console import console, say
from iavit.errors import UserError
from iavit.files import read_yaml

if TYPE_CHECKING:
    from iavit.training.directory import Run

# Options with a value that decide the defaults of others; `--run` is of `iavit attach`.
_DECISIVE = (
    "--data", "--objective", "--output", "--backbone", "--weights", "--preset", "--run",
    "--classifier", "--img-size",
)  # fmt: skip
# What `--help` shows; `--help-all` shows the rest.
ESSENTIAL = (
    "data", "root", "backbone", "img_size", "pretrained", "weights", "objective", "freeze", "steps",
    "interpreter_steps", "epochs", "batch_size", "lr", "devices", "seed",
)  # fmt: skip


def add_options(
    parser: ArgumentParser,
    given: Sequence[str],
    essential: Sequence[str] = ESSENTIAL,
    where: str = "run directory: runs/DATA",
) -> None:
    """All settings, in groups, starting from the data set's preset or the run to be resumed.

    essential: the settings that `--help` shows. where: what it says of `--output`.
    """
    config = Config()
    # Hidden settings would be left out of what is printed, too.
    every = any(word.startswith(("--help-all", "--print_config")) for word in given)
    parser.add_argument("--help-all", action="help", help="show all settings")
    for group in fields(Config):
        settings = getattr(config, group.name)
        section = parser.add_argument_group(type(settings).__doc__)
        hints = get_type_hints(type(settings))
        for setting in fields(settings):
            switch: dict[str, Any] = {}
            if hints[setting.name] is bool:
                switch = {"nargs": "?", "const": True}
            section.add_argument(
                f"--{setting.name.replace('_', '-')}",
                **switch,
                type=hints[setting.name],
                default=getattr(settings, setting.name),
                help=setting.metadata["help"] if every or setting.name in essential else SUPPRESS,
            )
    section = parser.add_argument_group("Run")
    section.add_argument("--output", type=Path, help=where)
    section.add_argument("--preset", type=str, help="start from another data set's settings")
    section.add_argument("--resume", action="store_true", help="go on where --output stopped")
    section.add_argument(
        "--dry-run",
        action="store_true",
        help="only say what the run will take: memory, steps, time",
    )
    asked = peek(given)
    if asked.get("resume") and asked.get("output"):
        from iavit.training.directory import read_config

        parser.set_defaults(read_config(Path(asked["output"])).flat())
    else:
        data, preset = asked.get("data", "digits"), asked.get("preset")
        weights = bool({"weights", "pretrained"} & asked.keys())
        named = (preset or data) in PRESETS or "backbone" in asked
        small = not (weights or named or _has_accelerator())
        start = starting_point(data, asked.get("objective"), preset, weights=weights, small=small)
        parser.set_defaults(start.flat())


def execute(options: Namespace) -> None:
    """Train by the options and leave the run in its directory."""
    folder = options.output or Path("runs") / options.data
    if options.resume and options.output is None:
        raise UserError("`resume`: name the run with `output`")
    config = Config.from_flat(options.as_dict())
    if config.data.data not in PRESETS and not _starts_from_something(config):
        say(
            f"{config.model.backbone} starts from random weights, which takes many images and "
            "steps; --weights FILE or --pretrained start from what is learned already."
        )
    if options.dry_run:
        say_plan(config)
        return
    train_run(config, folder, resume=options.resume)
    say(f"{folder} is trained; next: iavit evaluate {folder}")


def train_run(config: Config, folder: Path, *, resume: bool) -> Run:
    """Train in the folder; of several processes only the first one returns."""
    from iavit.training.run import is_first_process, train

    run = train(config, folder, resume=resume, console=console())
    if not is_first_process():
        raise SystemExit(0)  # what follows is for one process
    return run


def say_plan(config: Config) -> None:
    """Print what a training would take; nothing is written."""
    from iavit.training.plan import duration
    from iavit.training.run import dry_run

    plans = dry_run(config)
    for learns, plan in plans.items():
        say("predictor and interpreter:" if learns == "both" else f"{learns}:")
        for line in plan.lines():
            say(f"  {line}")
    say(f"in all {duration(sum(plan.seconds for plan in plans.values()))}")


def peek(given: Sequence[str]) -> dict[str, Any]:
    """The few options that decide the defaults of the others, before those are parsed."""
    asked: dict[str, Any] = {}
    for position, word in enumerate(given):
        name, equals, value = word.partition("=")
        following = given[position + 1] if position + 1 < len(given) else ""
        if name == "--config":
            asked = _from_file(value if equals else following) | asked
        elif name in _DECISIVE:
            asked[name[2:]] = value if equals else following
        elif name in ("--resume", "--pretrained"):
            asked[name[2:]] = True
    return asked


def _starts_from_something(config: Config) -> bool:
    model = config.model
    return bool(model.weights or model.pretrained or model.classifier)


def _has_accelerator() -> bool:
    import torch

    return torch.accelerator.is_available()


def _from_file(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        return {}  # the parser proper says what is wrong with it
    values = read_yaml(Path(path))
    deciding = [name[2:] for name in (*_DECISIVE, "--resume", "--pretrained")]
    found = {name: values.get(name.replace("-", "_")) for name in deciding}
    return {name: str(value) for name, value in found.items() if value}


COMMAND = Command("train a model; --resume goes on where it stopped", add_options, execute)
