"""`iavit report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.commands.selection import load_run
from iavit.console import say

if TYPE_CHECKING:
    from iavit.training.directory import Run


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("--evaluation", type=Path, help="folder that evaluate wrote into: RUN")
    parser.add_argument("--output", type=Path, help="folder: report, beside it")


def execute(options: Namespace) -> None:
    """Write a run's page beside its evaluation."""
    evaluated = options.evaluation or options.run
    page = write_report(load_run(options.run), evaluated, options.output or evaluated / "report")
    say(f"Look at {page}")


def write_report(run: Run, evaluated: Path, folder: Path) -> Path:
    """Write the page of a run; returns where it is."""
    from iavit.data.datasets import load_dataset
    from iavit.report.page import write_page

    return write_page(run, load_dataset(run.config).test, evaluated, folder)


COMMAND = Command("a run as one self-contained page", add_options, execute)
