"""A study as one page, for which nothing is loaded from anywhere else, in the report's look."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iavit.config import Config
from iavit.experiments.runs import Failed
from iavit.experiments.tables import Table
from iavit.experiments.variants import VARIANTS, Choices, Planned
from iavit.files import write_text
from iavit.report.page import environment


@dataclass(frozen=True)
class Plate:
    """A figure of the page: a data URI and what it shows."""

    uri: str
    caption: str


def plate(png: Path, caption: str) -> Plate:
    """A picture of a file, to be put into a page."""
    encoded = base64.b64encode(png.read_bytes()).decode("ascii")
    return Plate(f"data:image/png;base64,{encoded}", caption)


def write_study(
    path: Path,
    choices: Choices,
    runs: Sequence[Planned],
    failed: Sequence[Failed],
    tables: Sequence[Table],
    figures: Sequence[Plate],
    provenance: Mapping[str, Any],
) -> None:
    """Write the page."""
    first = {run.variant: run for run in reversed(runs)}
    variants = [
        (name, variant.summary, _steps(first[name].config), _changes(variant.changes))
        for name, variant in VARIANTS.items()
        if name in first
    ]
    page = (
        environment("experiments/templates", "report/templates")
        .get_template("study.html")
        .render(
            study=choices.study,
            settings=choices.settings,
            budget=choices.budget,
            seeds=choices.seeds,
            runs=len(runs),
            failed=[(failure.run.name, failure.reason) for failure in failed],
            tables=tables,
            figures=figures,
            variants=variants,
            provenance=provenance,
        )
    )
    write_text(path, page)


def _steps(config: Config) -> str:
    """Of the predictor, and where it comes after, of the interpreter."""
    steps, after = config.training.steps or 0, config.training.interpreter_steps
    if config.objective.interpreter != "after":
        return f"{steps:,}"
    return f"{steps:,}, then {after or steps:,} of the interpreter"


def _changes(changes: Mapping[str, Any]) -> str:
    """As YAML has them, for whoever repeats a run."""
    words = {True: "true", False: "false"}
    return ", ".join(
        f"{name} {words[value] if isinstance(value, bool) else value}"
        for name, value in changes.items()
    )
