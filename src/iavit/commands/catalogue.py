"""`iavit list`: the names that options take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.console import console

Rows = list[tuple[str, ...]]


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument(
        "what", type=Literal["backbones", "explainers", "metrics"], help="what to list"
    )


def execute(options: Namespace) -> None:
    """Print names with what they stand for."""
    from rich import box
    from rich.table import Table

    heading, rows = LISTS[options.what]()
    table = Table(*heading, box=box.SIMPLE_HEAD, show_edge=False)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def _backbones() -> tuple[tuple[str, ...], Rows]:
    from iavit.model.backbones import backbone_names

    return ("--backbone",), [(name,) for name in backbone_names()]


def _explainers() -> tuple[tuple[str, ...], Rows]:
    from iavit.explain import EXPLAINERS, SLOW

    rows: Rows = [
        (
            name,
            "no" if name in SLOW else "yes",
            (inspect.getdoc(explain) or "").partition("\n")[0],
        )
        for name, explain in EXPLAINERS.items()
    ]
    return ("--explainers", "quick", "map"), rows


def _metrics() -> tuple[tuple[str, ...], Rows]:
    from iavit.evaluate.metrics import METRICS

    rows: Rows = [
        (
            name,
            metric.better,
            "always" if metric.cost == "free" else f"--metrics {name}",
            metric.meaning,
        )
        for name, metric in METRICS.items()
    ]
    return ("measure", "better", "measured", "meaning"), rows


LISTS: dict[str, Callable[[], tuple[tuple[str, ...], Rows]]] = {
    "backbones": _backbones,
    "explainers": _explainers,
    "metrics": _metrics,
}

COMMAND = Command("names of backbones, explainers or metrics", add_options, execute)
