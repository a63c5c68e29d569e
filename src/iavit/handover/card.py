"""The model card: what was measured, in words that a user, the hub and an auditor read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import escape

from iavit.config import Config
from iavit.evaluate.evaluation import Evaluation, Figure
from iavit.handover.export import weights_sha256
from iavit.handover.facts import parent_weights, split_facts
from iavit.model.extractor import Extractor
from iavit.model.weights import Saved
from iavit.provenance import commit
from iavit.report.cells import measured_images, percent
from iavit.report.page import data_name, policy, trained

NOT_MEASURED, NOT_STATED = "not measured", "not stated"
COMPARED = ("contributions", "interpreter")  # explanations that the model gives of itself
INTERVALS = {"accuracy": "Wilson", "agreement": "Wilson", "insertion_minus_deletion": "bootstrap"}


@dataclass(frozen=True)
class Statement:
    """What no measurement says, and the provider does: each None where it is not stated."""

    provider: str | None = None
    purpose: str | None = None
    licence: str | None = None


def model_card(
    saved: Saved,
    name: str,
    *,
    evaluation: Evaluation | None = None,
    config: Config | None = None,
    statement: Statement | None = None,
) -> ModelCard:
    """The card of a model, as README.md of its repository has it.

    name: of the model, or its repository.
    evaluation: what was measured; without, every figure is "not measured".
    config: of the run that trained it; without, the data are not counted.
    """
    statement = statement or Statement()
    text = _template("card.md").render(_context(saved, name, evaluation, config, statement))
    data = _card_data(name, evaluation, statement)
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")


def card_page(card: ModelCard) -> str:
    """The card's text as one HTML page that asks for nothing from elsewhere and runs nothing."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    heading = re.search(r"^# (.*)$", card.text, re.MULTILINE)
    body, title = markdown.render(card.text), "Model card"
    if heading:
        title = markdown.renderInline(heading[1])
    return _template("card.html").render(body=body, title=f"{title}: model card")


def _card_data(name: str, evaluation: Evaluation | None, statement: Statement) -> ModelCardData:
    """The card's head, as the hub reads it."""
    return ModelCardData(
        license=statement.licence,
        library_name="iavit",
        pipeline_tag="image-classification",
        tags=["iavit", "image-classification", "explainability", "vision-transformer"],
        metrics=None if evaluation is None else ["accuracy"],
        model_name=name,
        eval_results=None if evaluation is None else _results(evaluation),
    )


def _results(evaluation: Evaluation) -> list[EvalResult]:
    """The figures of the `model-index`, each with its interval."""
    named: dict[str, tuple[str, Figure | float | None]] = {
        "Accuracy": ("accuracy", evaluation.prediction.get("predictor_accuracy")),
        "Interpreter accuracy": ("accuracy", evaluation.prediction.get("interpreter_accuracy")),
        "Agreement of both branches": ("agreement", evaluation.prediction.get("agreement")),
    }
    for explainer in COMPARED:
        figure = evaluation.figures(explainer).get("difference")
        named[f"Insertion minus deletion of {explainer}"] = ("insertion_minus_deletion", figure)
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=evaluation.dataset,
            dataset_name=evaluation.dataset,
            dataset_split=evaluation.split,
            metric_type=kind,
            metric_name=title,
            metric_value=round(figure.mean, 6),
            metric_args={
                "interval": f"95 % {INTERVALS[kind]} over images",
                "low": figure.low,
                "high": figure.high,
                "images": evaluation.images,
            },
        )
        for title, (kind, figure) in named.items()
        if isinstance(figure, Figure) and figure.mean is not None
    ]


def _context(
    saved: Saved,
    name: str,
    evaluation: Evaluation | None,
    config: Config | None,
    statement: Statement,
) -> dict[str, Any]:
    """What the template says."""
    model = saved.model
    explains = config is None or config.objective.interpreter != "none"
    prediction: Mapping[str, Any] = {} if evaluation is None else evaluation.prediction
    state = model.state_dict().values()
    return {
        "name": name,
        "backbone": model.architecture.backbone
        if isinstance(model.extractor, Extractor)
        else "a classifier from a file",
        "explains": explains,
        "classes": saved.classes,
        "version": version("iavit"),
        "commit": commit() or "unknown",
        "statement": statement,
        "not_stated": NOT_STATED,
        "not_measured": NOT_MEASURED,
        "dataset": _dataset(evaluation, config),
        "evaluation": evaluation,
        "measured": "" if evaluation is None else measured_images(evaluation),
        "fairness": None if evaluation is None else evaluation.fairness,
        "prediction": prediction.get,
        "sha256": weights_sha256(model),
        "grid": model.grid,
        "side": model.architecture.img_size,
        "mean": ", ".join(f"{value:g}" for value in saved.normalisation.mean),
        "std": ", ".join(f"{value:g}" for value in saved.normalisation.std),
        "explainers": _explainers(evaluation),
        "sanity": _sanity(evaluation),
        "sufficient": _sufficient(evaluation),
        "splits": split_facts(config, NOT_MEASURED),
        "parent": parent_weights(config, NOT_STATED),
        "parameters": sum(values.numel() for values in model.parameters()),
        "megabytes": sum(values.nbytes for values in state) / 1e6,
        "recipe": _recipe(config),
        "evaluated": _evaluated(evaluation),
    }


def _dataset(evaluation: Evaluation | None, config: Config | None) -> str | None:
    """What the images are called; of one's own, their folder or file."""
    if evaluation is not None and (config is None or evaluation.dataset != config.data.data):
        return evaluation.dataset
    return None if config is None else data_name(config)


def _explainers(evaluation: Evaluation | None) -> list[dict[str, Any]]:
    """A row for each explainer measured, the most faithful first."""
    if evaluation is None:
        nothing = {"difference": None, "pointing": None, "milliseconds": NOT_MEASURED}
        return [{"name": name} | nothing for name in COMPARED]
    rows = [
        {
            "name": name,
            "difference": evaluation.figures(name).get("difference"),
            "pointing": evaluation.figures(name).get("pointing_game"),
            "milliseconds": f"{1000 * measured.seconds_per_image:.2f}",
        }
        for name, measured in evaluation.faithfulness.items()
    ]
    return sorted(rows, key=lambda row: -(_mean(row["difference"]) or 0))


def _mean(figure: Figure | None) -> float | None:
    return None if figure is None else figure.mean


def _sanity(evaluation: Evaluation | None) -> str:
    """Whether the maps depend on what was learned."""
    if evaluation is not None:
        said = [
            f"{name} {_number(figure)}"
            for name in COMPARED
            if (figure := evaluation.figures(name).get("randomisation")) is not None
        ]
        if said:
            return (
                "Sanity check (rank correlation of the map with that of a model with random "
                f"weights; 0 is best): {', '.join(said)}."
            )
    return f"Sanity check against random weights: {NOT_MEASURED}."


def _sufficient(evaluation: Evaluation | None) -> str:
    """How few patches keep the answer."""
    measured = None if evaluation is None else evaluation.sufficient
    if measured is None:
        return f"Patches that suffice for the answer: {NOT_MEASURED}."
    said = "; ".join(
        f"the first {found.patches} patches ({_share(found.share_of_patches.mean)} of all) of "
        f"{name}: {_share(found.coverage)} of {measured.tested_on:,} test images"
        for name, found in measured.explainers.items()
        if name in COMPARED
    )
    return (
        f"Patches that keep the answer, calibrated on {measured.calibrated_on:,} validation "
        f"images for {_share(measured.coverage_asked)} of new ones: {said or NOT_MEASURED}."
    )


def _recipe(config: Config | None) -> str:
    if config is None:
        return NOT_STATED
    images, seed = config.data.batch_size, config.training.seed
    return f"{data_name(config)}: {trained(config)}; {images} images a step, seed {seed}"


def _evaluated(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return NOT_MEASURED
    made = evaluation.provenance
    return f"iavit {made.version} at commit {made.commit or 'unknown'}, torch {made.torch}"


def _template(name: str) -> Any:
    kept = Environment(undefined=StrictUndefined)
    kept.filters |= {"plain": _plain, "share": _share, "number": _number, "policy": policy}
    return kept.from_string((files("iavit.handover") / "templates" / name).read_text("utf-8"))


def _share(figure: Figure | float | None) -> str:
    """From 0 to 1 as per cent, its interval behind it."""
    return _measured(figure, percent)


def _number(figure: Figure | float | None) -> str:
    return _measured(figure, lambda value: f"{value:.3f}")


def _measured(figure: Figure | float | None, shown: Any) -> str:
    if isinstance(figure, Figure):
        if figure.mean is None:
            return NOT_MEASURED
        if figure.low is None or figure.high is None:
            return shown(figure.mean)
        return f"{shown(figure.mean)} ({shown(figure.low)} to {shown(figure.high)})"
    return NOT_MEASURED if figure is None else shown(figure)


def _plain(text: object) -> str:
    """Text that is no markup, neither of Markdown nor of HTML, on one line."""
    line = re.sub(r"([\\`*_{}\[\]()#+!|~])", r"\\\1", " ".join(str(text).split()))
    return str(escape(line))
