"""`iavit reproduce`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.console import console, say
from iavit.errors import UserError

MOST_SEEDS = 1000


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("name", type=str, help="data set of the study")
    parser.add_argument("--output", type=Path, help="folder: runs/reproduce-NAME")
    parser.add_argument("--seeds", type=str, default="1", help="how many seeds, or which: a,b,c")
    parser.add_argument(
        "--settings", type=str, default="ours", help="ours, or the authors' optimiser and images"
    )
    parser.add_argument(
        "--budget", type=str, default="full", help="full, or small for a trial of minutes"
    )
    parser.add_argument("--root", type=str, help="folder of the data set's files")
    parser.add_argument(
        "--weights",
        type=str,
        help="file of weights to start from, instead of published ones",
    )
    parser.add_argument(
        "--beside", type=str, default="", help="folders a,b of other studies to show in figure 3"
    )


def execute(options: Namespace) -> None:
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
    page = carry_out(choices, folder, console(), beside)
    say(f"Look at {page}")


def _seeds(text: str) -> tuple[int, ...]:
    """`a,b,c` are seeds; a single number is how many, from 0."""
    try:
        numbers = [int(word) for word in text.split(",") if word.strip()]
    except ValueError as error:
        raise UserError(f"`seeds` is '{text}'; give how many, or which: 0,1,2") from error
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise UserError(f"`seeds` is '{text}'; give how many, or which, each once: 0,1,2")
    if "," not in text and numbers[0] > MOST_SEEDS:
        raise UserError(f"`seeds` is {text}; a study has at most {MOST_SEEDS}")
    seeds = tuple(numbers) if "," in text else tuple(range(numbers[0]))
    if not seeds:
        raise UserError("`seeds` is 0; it must be at least 1")
    return seeds


COMMAND = Command("the paper's tables and figures on a data set", add_options, execute)
