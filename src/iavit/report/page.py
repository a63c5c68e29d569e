"""A finished run as one page, for which nothing is loaded from anywhere else."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from iavit.config import Config
from iavit.data.images import Images
from iavit.errors import UserError
from iavit.explain import EXPLAINERS
from iavit.files import make_folder, write_text
from iavit.report import figures, findings
from iavit.report.figures import Line, Style
from iavit.report.gallery import WANTED, gallery
from iavit.report.pictures import SMALL
from iavit.training.directory import Run

TERMS = (  # of every run's metrics.csv, each after `train/` and `val/`; others come as they are
    "loss",
    "cross_entropy",
    "simulation",
    "alignment",
    "predictor_accuracy",
    "interpreter_accuracy",
)
STAGES = {"train": figures.TRAIN, "val": figures.VALIDATION}
CURVES = {"insertion": "patches shown", "deletion": "patches removed"}

History = dict[str, list[tuple[float, float]]]  # column of metrics.csv to (step, value)


@dataclass(frozen=True)
class Chart:
    """A drawing with its title."""

    title: str
    drawing: Markup


def write_page(run: Run, images: Images, folder: Path) -> Path:
    """Write `folder/index.html` from what the run left behind; returns its path.

    images: the test images, in the order in which they were evaluated.
    Raises `UserError` where `evaluation.json` is missing or damaged.
    """
    evaluation = _read_evaluation(run.folder)
    try:
        found = _found(evaluation)
        seen = images.first(evaluation["images"])
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(run.folder) from error
    history, missing = _read_history(run.folder / "metrics.csv")
    shown = {name: EXPLAINERS[name] for name in evaluation["faithfulness"] if name in EXPLAINERS}
    right, wrong = gallery(run.saved, seen, shown, run.config.training.seed)
    page = (
        _environment()
        .get_template("page.html")
        .render(
            **found,
            config=run.config,
            classes=run.saved.classes,
            length=_length(run.config),
            settings=_settings(run.config),
            training=_training_charts(history),
            training_key=dict(zip(("training", "validation"), STAGES.values(), strict=True)),
            missing=missing,
            cases={"right": right, "wrong": wrong},
            wanted=WANTED,
            evidence=images.evidence is not None,
            small=images[[0]].images.shape[-1] < SMALL,
        )
    )
    make_folder(folder)
    write_text(folder / "index.html", page)
    return folder / "index.html"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("iavit", "report/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = findings.percent
    return environment


def _read_evaluation(folder: Path) -> dict[str, Any]:
    path = folder / "evaluation.json"
    if not path.is_file():
        raise UserError(f"{folder} has no evaluation.json; run `iavit evaluate {folder}` first")
    try:
        evaluation: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(folder) from error
    return evaluation


def _damaged(folder: Path) -> UserError:
    path = folder / "evaluation.json"
    return UserError(f"{path} is damaged; run `iavit evaluate {folder}` again")


def _found(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """All that the page tells of the evaluation."""
    styles = _styles(evaluation)
    known = ("version", "commit", "seed", "torch", "device", "seconds")
    return {
        "dataset": str(evaluation["dataset"]),
        "split": str(evaluation["split"]),
        "count": f"{evaluation['images']:,}",
        "sentences": findings.sentences(evaluation),
        "highlights": findings.highlights(evaluation),
        "predictions": findings.prediction_table(evaluation),
        "explainers": findings.explainer_table(evaluation),
        "comparisons": findings.comparison_table(evaluation),
        "baseline": findings.BASELINE in evaluation["faithfulness"],
        "curves": _curve_charts(evaluation, styles),
        "curves_key": styles,
        "faint": figures.FAINT in styles.values(),
        "provenance": {key: _told(evaluation["provenance"].get(key)) for key in known},
    }


def _styles(evaluation: Mapping[str, Any]) -> dict[str, Style]:
    """Colours and dashes for as many explainers as can be told apart; the others are faint.

    The first one evaluated has the first style, then they go by difference.
    """
    first, *_ = evaluation["faithfulness"]
    ranked = findings.ranked(evaluation)
    rivals = [name for name in ranked if name not in (first, findings.BASELINE)]
    chosen = dict(zip([first, *rivals], figures.DISTINCT, strict=False))
    chosen |= {findings.BASELINE: figures.BASELINE}
    return {name: chosen.get(name, figures.FAINT) for name in ranked}


def _curve_charts(evaluation: Mapping[str, Any], styles: Mapping[str, Style]) -> list[Chart]:
    charts = []
    for name, x_label in CURVES.items():
        lines = [
            Line(explainer, styles[explainer], of["curves"]["fractions"], of["curves"][name])
            for explainer, of in evaluation["faithfulness"].items()
        ]
        drawing = figures.chart(
            lines,
            name=name,
            label=f"{name}: probability of the predicted class over {x_label}",
            x_label=x_label,
            shares=(True, True),
        )
        charts.append(Chart(name, Markup(drawing)))
    return charts


def _read_history(path: Path) -> tuple[History, str]:
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


def _training_charts(history: History) -> list[Chart]:
    charts = []
    found = [column.partition("/")[2] for column in history]
    for term in dict.fromkeys([*TERMS, *found]):
        lines = [
            Line(stage, style, *zip(*history[f"{stage}/{term}"], strict=True))
            for stage, style in STAGES.items()
            if f"{stage}/{term}" in history
        ]
        if lines:
            title = term.replace("_", " ")
            drawing = figures.chart(
                lines,
                name=term,
                label=f"{title} over the training steps",
                x_label="step",
                shares=(False, term.endswith("_accuracy")),
            )
            charts.append(Chart(title, Markup(drawing)))
    return charts


def _settings(config: Config) -> dict[str, list[tuple[str, str, str]]]:
    """Heading to each setting's name, value and meaning."""
    return {
        str(type(group).__doc__): [
            (field.name, _told(getattr(group, field.name)), field.metadata["help"])
            for field in fields(group)
        ]
        for group in (config.data, config.model, config.objective, config.training)
    }


def _length(config: Config) -> str:
    training = config.training
    if training.steps is not None:
        return f"{training.steps:,} steps"
    return f"{training.epochs:g} epochs" if training.epochs is not None else "no steps"


def _told(value: object) -> str:
    """A setting as YAML has it, but for a dash where there is none."""
    if value is None:
        return findings.NOTHING
    return str(value).lower() if isinstance(value, bool) else str(value)
