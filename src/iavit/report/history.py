"""A run's `metrics.csv` as charts of its training."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from markupsafe import Markup

from iavit.report.charts import TRAIN, VALIDATION, Chart, Line, chart

TERMS = (  # of every run's metrics.csv, each after `train/` and `val/`; others come as they are
    "loss",
    "cross_entropy",
    "simulation",
    "alignment",
    "predictor_accuracy",
    "interpreter_accuracy",
)
STAGES = {"train": TRAIN, "val": VALIDATION}

History = dict[str, list[tuple[float, float]]]  # column of metrics.csv to (step, value)


def read_history(path: Path) -> tuple[History, str]:
    """The columns of `metrics.csv`, and a sentence on what is expected and not there."""
    expected = [f"{stage}/{term}" for term in TERMS for stage in STAGES]
    if not path.is_file():
        return {}, "The run has no metrics.csv, so its training cannot be shown."
    history: History = {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        table = csv.DictReader(file)
        columns = [c for c in table.fieldnames or () if c.partition("/")[0] in STAGES]
        for row in table:
            step = _number(row.get("step"))
            for column in columns:
                value = _number(row.get(column))
                if step is not None and value is not None:
                    history.setdefault(column, []).append((step, value))
    absent = [column for column in expected if column not in history]
    if not history:
        return {}, "Its metrics.csv has no figures, so its training cannot be shown."
    return history, f"Its metrics.csv has no figures for {', '.join(absent)}." if absent else ""


def _number(text: str | None) -> float | None:
    """A finite number, or None for a blank or damaged cell."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def training_charts(history: History) -> list[Chart]:
    """A chart a term: its training, and where it was measured its validation."""
    drawn = []
    found = [column.partition("/")[2] for column in history]
    for term in dict.fromkeys([*TERMS, *found]):
        lines = [
            Line(stage, style, *zip(*history[f"{stage}/{term}"], strict=True))
            for stage, style in STAGES.items()
            if f"{stage}/{term}" in history
        ]
        if lines:
            title = term.replace("_", " ")
            drawing = chart(
                lines,
                name=term,
                label=f"{title} over the training steps",
                x_label="step",
                shares=(False, term.endswith("_accuracy")),
            )
            drawn.append(Chart(title, Markup(drawing)))
    return drawn
