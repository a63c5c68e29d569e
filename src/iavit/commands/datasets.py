"""`iavit datasets`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.console import console


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("--root", type=str, help="folder to look for their files in")


def execute(options: Namespace) -> None:
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
    console().print(table)


COMMAND = Command("data to train on: how large, and whether it is here", add_options, execute)
