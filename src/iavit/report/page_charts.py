"""The evaluation, and the training before it, as charts of the page."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from iavit.config import Config
from iavit.evaluate.evaluation import Evaluation
from iavit.objective.step import TERMS, parts_read
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
from iavit.training.stages import stages

RANKINGS = {  # metric to the title of its ranking
    "difference": "insertion minus deletion",
    "mean_difference": "insertion minus deletion, averaged over substrates",
}
FIRST = (  # of the columns of metrics.csv, each after `train/` and `val/`; others come as they are
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


def styles_of(evaluation: Evaluation) -> dict[str, Style]:
    """Colours and dashes for as many explainers as can be told apart; the others are faint.

    The explainer that the page is about has the first style, then they go by difference.
    """
    first = findings.subject(evaluation)
    ranked = findings.ranked(evaluation)
    rivals = [name for name in ranked if name not in (first, findings.BASELINE)]
    chosen = dict(zip([first, *rivals], DISTINCT, strict=False))
    chosen |= {findings.BASELINE: BASELINE}
    return {name: chosen.get(name, FAINT) for name in ranked}


def curve_charts(evaluation: Evaluation, styles: Mapping[str, Style]) -> list[Chart]:
    """Insertion and deletion of every explainer, with the intervals of those in colour."""
    # Faint lines first, the best ones last and on top.
    order = sorted(styles, key=lambda name: styles[name] != FAINT)
    curves = {name: evaluation.faithfulness[name].curves for name in order}
    insertion = [
        _line(
            name,
            styles[name],
            bands.fractions,
            bands.insertion,
            bands.insertion_low,
            bands.insertion_high,
        )
        for name, bands in curves.items()
    ]
    deletion = [
        _line(
            name,
            styles[name],
            bands.fractions,
            bands.deletion,
            bands.deletion_low,
            bands.deletion_high,
        )
        for name, bands in curves.items()
    ]
    return [
        _curve_chart("insertion", insertion, "patches shown"),
        _curve_chart("deletion", deletion, "patches removed"),
    ]


Values = tuple[float, ...]


def _line(name: str, style: Style, x: Values, y: Values, low: Values, high: Values) -> Line:
    return Line(name, style, x, y, None if style == FAINT or not low else (low, high))


def _curve_chart(title: str, lines: list[Line], x_label: str) -> Chart:
    drawing = line_chart(
        lines,
        name=title,
        label=f"{title}: probability of the explained class over {x_label}",
        x_label=x_label,
        shares=(True, True),
    )
    return Chart(title, Markup(drawing))


def rankings(evaluation: Evaluation) -> list[Chart]:
    """The explainers by insertion minus deletion, and by its average over substrates."""
    drawn = []
    for metric, title in RANKINGS.items():
        words = findings.noise_words(evaluation, metric)
        rows = []
        for name in findings.ranked(evaluation, metric):
            figure = evaluation.faithfulness[name].figures.get(metric)
            if figure is None or figure.mean is None:
                continue
            low, high = (figure.mean if end is None else end for end in (figure.low, figure.high))
            subject = name == findings.subject(evaluation)
            rows.append(Ranked(name, figure.mean, low, high, subject, words.get(name, "")))
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


def cost_chart(evaluation: Evaluation) -> Chart | None:
    """What each explainer costs beside what it reaches; None where nothing was timed."""
    chance = None
    dots = []
    for name in findings.ranked(evaluation):
        explained = evaluation.faithfulness[name]
        figure = explained.figures.get("difference")
        mean = None if figure is None else figure.mean
        if name == findings.BASELINE:
            chance = mean
        elif mean is not None and explained.seconds_per_image > 0:
            milliseconds = 1000 * explained.seconds_per_image
            dots.append(Priced(name, milliseconds, mean, name == findings.subject(evaluation)))
    if not dots:
        return None
    drawing = scatter(
        dots,
        None if chance is None else (findings.BASELINE, chance),
        name="cost",
        label="insertion minus deletion over the milliseconds that an explainer takes an image",
    )
    names = tuple(dot.name for dot in dots)
    return Chart("cost beside faithfulness", Markup(drawing), names)


def expected_columns(config: Config) -> list[str]:
    """The columns of `metrics.csv` that a run of these settings writes: what its stages learn."""
    terms = {"loss": True}  # to whether it is validated, too: masked copies are of training alone
    for stage in stages(config, images=1):
        parts = parts_read(stage.objective)
        if stage.needs_labels:
            terms |= {"cross_entropy": True, "predictor_accuracy": True}
        for name, term in TERMS.items():
            if term.reads and term.reads <= parts and term.weight(stage.objective):
                terms[name] = "copies" not in term.reads
        if "interpreter" in parts:
            terms["agreement"] = True
            if stage.needs_labels:
                terms["interpreter_accuracy"] = True
    return [
        f"{kind}/{name}"
        for name, validated in terms.items()
        for kind in STAGES
        if validated or kind == "train"
    ]


def read_history(path: Path, expected: Sequence[str]) -> tuple[History, str]:
    """The columns of `metrics.csv`, and a sentence on which of those expected are not there."""
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
    for term in dict.fromkeys([*FIRST, *found]):
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
                shares=(False, term.endswith("_accuracy") or term == "agreement"),
            )
            drawn.append(Chart(title, Markup(drawing)))
    return drawn
