"""The evaluation, and the training before it, as charts of the page."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from iavit.report import findings
from iavit.report.charts import (
    BASELINE,
    DISTINCT,
    FAINT,
    TRAIN,
    VALIDATION,
    Line,
    Style,
    line_chart,
)
from iavit.report.comparison_charts import Priced, Ranked, ranking, scatter

CURVES = {"insertion": "patches shown", "deletion": "patches removed"}
RANKINGS = {  # metric to the title of its ranking
    "difference": "insertion minus deletion",
    "mean_difference": "insertion minus deletion, averaged over substrates",
}
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


@dataclass(frozen=True)
class Chart:
    """A drawing with its title, and the names of what it numbers, from 1."""

    title: str
    drawing: Markup
    numbered: tuple[str, ...] = ()


def _explained(evaluation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Explainer to how faithful it is."""
    faithfulness: Mapping[str, Any] = evaluation["faithfulness"]
    return faithfulness


def has_bands(evaluation: Mapping[str, Any]) -> bool:
    """Whether any curve has an interval."""
    return any(_band(of["curves"], "insertion") for of in _explained(evaluation).values())


def styles_of(evaluation: Mapping[str, Any]) -> dict[str, Style]:
    """Colours and dashes for as many explainers as can be told apart; the others are faint.

    The explainer that the page is about has the first style, then they go by difference.
    """
    first = findings.subject(evaluation)
    ranked = findings.ranked(evaluation)
    rivals = [name for name in ranked if name not in (first, findings.BASELINE)]
    chosen = dict(zip([first, *rivals], DISTINCT, strict=False))
    chosen |= {findings.BASELINE: BASELINE}
    return {name: chosen.get(name, FAINT) for name in ranked}


def curve_charts(evaluation: Mapping[str, Any], styles: Mapping[str, Style]) -> list[Chart]:
    """Insertion and deletion of every explainer, with bands where they are known."""
    drawn = []
    # Faint lines first, the best ones last and on top.
    order = sorted(styles, key=lambda name: styles[name] != FAINT)
    for curve, x_label in CURVES.items():
        lines = []
        for name in order:
            of = _explained(evaluation)[name]["curves"]
            band = None if styles[name] == FAINT else _band(of, curve)
            lines.append(Line(name, styles[name], of["fractions"], of[curve], band))
        drawing = line_chart(
            lines,
            name=curve,
            label=f"{curve}: probability of the explained class over {x_label}",
            x_label=x_label,
            shares=(True, True),
        )
        drawn.append(Chart(curve, Markup(drawing)))
    return drawn


def _band(curves: Mapping[str, Any], curve: str) -> tuple[list[float], list[float]] | None:
    """The lower and upper ends of a curve's interval; None in files without."""
    low, high = curves.get(f"{curve}_low"), curves.get(f"{curve}_high")
    return None if low is None or high is None else (low, high)


def rankings(evaluation: Mapping[str, Any]) -> list[Chart]:
    """The explainers by insertion minus deletion, and by its average over substrates."""
    drawn = []
    for metric, title in RANKINGS.items():
        words = findings.noise_words(evaluation, metric)
        figures = {
            name: _explained(evaluation)[name].get(metric)
            for name in findings.ranked(evaluation, metric)
        }
        rows = [
            Ranked(
                name,
                figure["mean"],
                figure["low"],
                figure["high"],
                subject=name == findings.subject(evaluation),
                word=words.get(name, ""),
            )
            for name, figure in figures.items()
            if figure is not None and figure["mean"] is not None
        ]
        if rows:
            drawing = ranking(
                rows,
                name=f"rank-{metric}",
                label=f"explainers by {title}",
                x_label="insertion minus deletion",
                far=findings.BASELINE,
            )
            drawn.append(Chart(title, Markup(drawing)))
    return drawn


def cost_chart(evaluation: Mapping[str, Any]) -> Chart | None:
    """What each explainer costs beside what it reaches; None where nothing was timed."""
    means = {
        name: _explained(evaluation)[name]["difference"]["mean"]
        for name in findings.ranked(evaluation)
    }
    known = {name: mean for name, mean in means.items() if mean is not None}
    chance = known.pop(findings.BASELINE, None)
    seconds = {name: _explained(evaluation)[name]["seconds_per_image"] for name in known}
    dots = [
        Priced(name, 1000 * seconds[name], mean, name == findings.subject(evaluation))
        for name, mean in known.items()
        if seconds[name]
    ]
    if not dots:
        return None
    drawing = scatter(
        dots,
        None if chance is None else (findings.BASELINE, chance),
        name="cost",
        label="insertion minus deletion over the milliseconds that an explainer takes an image",
    )
    return Chart("cost beside faithfulness", Markup(drawing), tuple(dot.name for dot in dots))


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
            drawing = line_chart(
                lines,
                name=term,
                label=f"{title} over the training steps",
                x_label="step",
                shares=(False, term.endswith("_accuracy")),
            )
            drawn.append(Chart(title, Markup(drawing)))
    return drawn
