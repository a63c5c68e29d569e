"""A finished run as one page, for which nothing is loaded from anywhere else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import jinja2

from iavit.config import DEFAULT_EPOCHS, FEWEST_STEPS, Config
from iavit.data.datasets import DATASETS
from iavit.data.images import Images
from iavit.data.sampling import spread
from iavit.errors import UserError
from iavit.evaluate.evaluation import Evaluation
from iavit.evaluate.evaluation_json import FILE, read_evaluation
from iavit.explain import EXPLAINERS
from iavit.files import make_folder, write_text
from iavit.report import charts, findings, page_charts, page_tables
from iavit.report.cells import NOTHING, measured_images, percent
from iavit.report.gallery import WANTED, gallery, legend
from iavit.report.maps import SMALL
from iavit.training.directory import Run, bad_images


def write_page(run: Run, images: Images, evaluated: Path, folder: Path) -> Path:
    """Write `folder/index.html` from what the run left behind; returns its path.

    images: all test images.
    evaluated: the folder of `evaluation.json`: the run's own, or where `evaluate` wrote it.
    Raises `UserError` where `evaluation.json` is missing, damaged or of another version.
    """
    evaluation = read_evaluation(evaluated)
    if not evaluation.faithfulness:
        raise UserError(f"{evaluated / FILE} has no explainers; measure some with `iavit evaluate`")
    found = _found(evaluation, len(bad_images(run.folder)))
    among = spread(images)[: evaluation.images]  # those measured
    history, missing = page_charts.read_history(
        run.folder / "metrics.csv", page_charts.expected_columns(run.config)
    )
    first = findings.subject(evaluation)
    order = dict.fromkeys([first, *findings.ranked(evaluation)])
    shown = {name: EXPLAINERS[name] for name in order if name in EXPLAINERS}
    right, wrong = gallery(
        run.saved,
        images,
        shown,
        run.config.training.seed,
        among=among,
        true_class=found["explained"] == "true",
    )
    classes = run.saved.classes
    page = (
        environment("report/templates")
        .get_template("page.html")
        .render(
            **found,
            config=run.config,
            title=_title(run.config, classes),
            classes=classes,
            by_class=page_tables.class_table(evaluation, classes),
            confusion=page_tables.confusion_table(evaluation, classes),
            legends={signed: legend(signed) for signed in (False, True)},
            first=next(iter(right + wrong), None),
            trained=trained(run.config),
            settings=_settings(run.config),
            training=page_charts.training_charts(history),
            training_key=dict(
                zip(("training", "validation"), page_charts.STAGES.values(), strict=True)
            ),
            missing=missing,
            cases={"right": right, "wrong": wrong},
            mapped=list(shown),
            wanted=WANTED,
            evidence=images.evidence is not None,
            small=images[[0]].images.shape[-1] < SMALL,
        )
    )
    make_folder(folder)
    write_text(folder / "index.html", page)
    return folder / "index.html"


def environment(*templates: str) -> jinja2.Environment:
    """Templates of the package, with the style of all pages and what their policy says of it."""
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader("iavit", folder) for folder in templates])
    made = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["percent"] = percent
    made.filters["policy"] = policy
    made.filters["terms"] = page_tables.terms
    return made


def policy(style: str) -> str:
    """A content-security policy under which nothing runs or is loaded but this very style."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )


def _title(config: Config, classes: Sequence[str]) -> str:
    """What the images are called, and their classes."""
    return f"{data_name(config)}: {listed(classes)}"


def data_name(config: Config) -> str:
    """What the images are called: the data set, or of one's own their folder or file."""
    data = config.data
    yours = data.root is not None and DATASETS[data.data].images == "yours"
    return Path(str(data.root)).resolve().stem if yours else data.data


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names as a person lists them, the first few of many."""
    shown = list(names if len(names) <= most + 1 else names[:most])
    left = len(names) - len(shown)
    *before, last = [*shown, f"{left} more"] if left else shown
    return f"{', '.join(before)} and {last}" if before else last


def _found(evaluation: Evaluation, bad: int) -> dict[str, Any]:
    """All that the page tells of the evaluation; bad: files that the run left out."""
    styles = page_charts.styles_of(evaluation)
    fairness = evaluation.fairness
    return {
        "dataset": evaluation.dataset,
        "split": evaluation.split,
        "count": f"{evaluation.images:,}",
        "measured": measured_images(evaluation),
        "explained": evaluation.explained_class,
        "left_out": findings.left_out(evaluation, bad),
        "subject": findings.subject(evaluation),
        "sentences": findings.sentences(evaluation),
        "highlights": findings.highlights(evaluation),
        "predictions": page_tables.prediction_table(evaluation),
        "explainers": page_tables.explainer_table(evaluation),
        "substrates": page_tables.substrate_table(evaluation),
        "comparisons": page_tables.comparison_table(evaluation),
        "fairness": page_tables.fairness_tables(evaluation),
        "attribute": "" if fairness is None else fairness.attribute,
        "protocols": page_tables.protocol_tables(evaluation),
        "baseline": findings.BASELINE in evaluation.faithfulness,
        "curves": page_charts.curve_charts(evaluation, styles),
        "curves_key": {name: style for name, style in styles.items() if style != charts.FAINT},
        "faint": [name for name, style in styles.items() if style == charts.FAINT],
        "rankings": page_charts.rankings(evaluation),
        "cost": page_charts.cost_chart(evaluation),
        "provenance": {
            name: _as_yaml(value) for name, value in asdict(evaluation.provenance).items()
        },
    }


def _settings(config: Config) -> dict[str, list[tuple[str, str, str]]]:
    """Heading to each setting's name, value and meaning."""
    return {
        str(type(group).__doc__): [
            (field.name, _as_yaml(getattr(group, field.name)), field.metadata["help"])
            for field in fields(group)
        ]
        for group in (config.data, config.model, config.objective, config.training)
    }


def trained(config: Config) -> str:
    """How long the parts of the model were trained, in words."""
    training = config.training
    if training.steps is not None:
        length = f"{training.steps:,} steps"
    elif training.epochs is not None:
        length = f"{training.epochs:g} {'epoch' if training.epochs == 1 else 'epochs'}"
    else:
        length = f"{DEFAULT_EPOCHS} epochs, or {FEWEST_STEPS:,} steps where those are more"
    if config.objective.interpreter != "after":
        return f"trained for {length}"
    steps = training.interpreter_steps
    if training.steps == 0:
        return f"trained beforehand, its interpreter {steps or 1:,} steps after it"
    return (
        f"trained for {length}, its interpreter "
        f"{'as long' if steps is None else f'{steps:,} steps'} after it"
    )


def _as_yaml(value: object) -> str:
    """A setting as YAML has it, but for a dash where there is none."""
    if value is None:
        return NOTHING
    return str(value).lower() if isinstance(value, bool) else str(value)
