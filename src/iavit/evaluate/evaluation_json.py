"""`evaluation.json`: the only place where an evaluation is written and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from iavit.errors import UserError
from iavit.evaluate.evaluation import (
    Comparison,
    CurveBands,
    Evaluation,
    Fairness,
    Faithfulness,
    Figure,
    Figures,
    Group,
    Provenance,
    Sufficient,
    SufficientPatches,
)
from iavit.evaluate.metrics import METRICS
from iavit.files import write_json

FORMAT = 1  # of the file; raised whenever an older reader could misread a newer file
FILE = "evaluation.json"

Value = TypeVar("Value")


def write_evaluation(folder: Path, evaluation: Evaluation) -> Path:
    """Write `evaluation.json` into a folder, whole or not at all; returns its path."""
    path = folder / FILE
    write_json(path, to_json(evaluation))
    return path


def read_evaluation(folder: Path) -> Evaluation:
    """Read `evaluation.json` from a folder.

    Raises `UserError`, in one line that names the file and the version that wrote it, where it
    is missing, of another format, or damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder} has no {FILE}; measure it with `iavit evaluate` first")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged: it is not JSON; measure again with `iavit evaluate`"
        ) from error
    return from_json(content, path)


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The content of the file: dictionaries, lists, numbers and strings."""
    content: dict[str, Any] = {
        "format": FORMAT,
        "dataset": evaluation.dataset,
        "split": evaluation.split,
        "images": evaluation.images,
        **({"drawn_from": evaluation.drawn_from} if evaluation.drawn_from is not None else {}),
        "images_left_out": evaluation.images_left_out,
        "explained_class": evaluation.explained_class,
        "score": evaluation.score,
        "provenance": asdict(evaluation.provenance),
        "prediction": {
            name: asdict(value) if isinstance(value, Figure) else value
            for name, value in evaluation.prediction.items()
        },
        "faithfulness": {
            name: _faithfulness_to_json(value) for name, value in evaluation.faithfulness.items()
        },
        "localisation": _each(evaluation.localisation, _figures_to_json),
        "comparisons": [_comparison_to_json(value) for value in evaluation.comparisons],
    }
    if evaluation.trust_correlation:
        content["prediction"]["trust"]["correlation"] = _figures_to_json(
            evaluation.trust_correlation
        )
    if evaluation.explainers_left_out:
        content["explainers_left_out"] = dict(evaluation.explainers_left_out)
    if evaluation.protocols:
        content["protocols"] = _each(
            evaluation.protocols, lambda explainers: _each(explainers, _figures_to_json)
        )
    if evaluation.confusion:
        content["confusion"] = [list(row) for row in evaluation.confusion]
    if evaluation.fairness is not None:
        content["fairness"] = _fairness_to_json(evaluation.fairness)
    if evaluation.sufficient is not None:
        content["sufficient"] = _sufficient_to_json(evaluation.sufficient)
    return content


def from_json(content: Any, path: Path) -> Evaluation:
    """The evaluation that `to_json` made; a file without a format is of version 0.1.0.

    path: of the file, for the message of a `UserError` where the content is of another format
        or has another shape.
    """
    written = _version(content)
    if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
        raise UserError(
            f"{path} was written by iavit {written} in format {content['format']!r}, and this "
            f"version reads format {FORMAT}; measure again with `iavit evaluate`"
        )
    try:
        return _evaluation(content)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path}, written by iavit {written}, is damaged or of another shape ({_reason(error)})"
            "; measure again with `iavit evaluate`"
        ) from error


def _evaluation(content: Mapping[str, Any]) -> Evaluation:
    prediction = dict(content["prediction"])
    trust = prediction.get("trust", {})
    evaluation = Evaluation(
        dataset=_checked(content["dataset"], str),
        split=_checked(content["split"], str),
        images=_checked(content["images"], int),
        images_left_out=_checked(content.get("images_left_out", 0), int),
        explained_class=_one_of(content.get("explained_class", "predicted"), "predicted", "true"),
        score=_one_of(content.get("score", "probability"), "probability", "logit"),
        provenance=_provenance(content["provenance"]),
        prediction={
            _known(name): _figure(value) if isinstance(value, Mapping) else _number(value)
            for name, value in prediction.items()
        },
        faithfulness=_each(content["faithfulness"], _faithfulness),
        localisation=_each(content["localisation"], _figures),
        comparisons=tuple(_comparison(value) for value in content["comparisons"]),
        trust_correlation=_each(trust.get("correlation", {}), _figure),
        explainers_left_out=_each(content.get("explainers_left_out", {}), str),
        protocols=_each(
            content.get("protocols", {}),
            lambda explainers: _each(explainers, lambda figures: _each(figures, _figure)),
        ),
        fairness=_fairness(content["fairness"]) if content.get("fairness") else None,
        confusion=_counts(content.get("confusion", [])),
        sufficient=_sufficient(content["sufficient"]) if "sufficient" in content else None,
        drawn_from=_checked(content["drawn_from"], int) if "drawn_from" in content else None,
    )
    if not set(evaluation.localisation) <= set(evaluation.faithfulness):
        raise ValueError("localisation of explainers without faithfulness")
    return evaluation


def _provenance(content: Mapping[str, Any]) -> Provenance:
    commit = content["commit"]
    return Provenance(
        version=_checked(content["version"], str),
        commit=None if commit is None else _checked(commit, str),
        seed=_checked(content["seed"], int),
        torch=_checked(content["torch"], str),
        device=_checked(content["device"], str),
        seconds=_checked(content["seconds"], int, float),
    )


def _figure(content: Mapping[str, Any]) -> Figure:
    return Figure(*(_number(content[end]) for end in ("mean", "low", "high")))


def _figures(content: Mapping[str, Any]) -> dict[str, Figure]:
    return {_known(metric): _figure(value) for metric, value in content.items()}


def _figures_to_json(figures: Figures) -> dict[str, Any]:
    return {metric: asdict(figure) for metric, figure in figures.items()}


def _comparison(content: Mapping[str, Any]) -> Comparison:
    return Comparison(
        metric=_known(content["metric"]),
        a=_checked(content["a"], str),
        b=_checked(content["b"], str),
        figure=_figure(content),
        p=_number(content["p"]),
        adjusted_p=_number(content["adjusted_p"]),
        inside_noise=_checked(content["inside_noise"], bool),
    )


def _comparison_to_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "metric": comparison.metric,
        "a": comparison.a,
        "b": comparison.b,
        **asdict(comparison.figure),
        "p": comparison.p,
        "adjusted_p": comparison.adjusted_p,
        "inside_noise": comparison.inside_noise,
    }


def _faithfulness(content: Mapping[str, Any]) -> Faithfulness:
    beside = ("seconds_per_image", "substrates", "curves")
    curves = {
        band.name: tuple(_checked(value, int, float) for value in content["curves"][band.name])
        for band in fields(CurveBands)
    }
    if len({len(values) for values in curves.values() if values}) != 1:
        raise ValueError("curves of different lengths")
    return Faithfulness(
        figures=_figures({name: value for name, value in content.items() if name not in beside}),
        seconds_per_image=_checked(content["seconds_per_image"], int, float),
        curves=CurveBands(**curves),
        substrates=_each(content.get("substrates", {}), _figures),
    )


def _faithfulness_to_json(faithfulness: Faithfulness) -> dict[str, Any]:
    content = _figures_to_json(faithfulness.figures)
    content["seconds_per_image"] = faithfulness.seconds_per_image
    if faithfulness.substrates:
        content["substrates"] = _each(faithfulness.substrates, _figures_to_json)
    content["curves"] = {name: list(values) for name, values in asdict(faithfulness.curves).items()}
    return content


def _fairness(content: Mapping[str, Any]) -> Fairness:
    return Fairness(
        attribute=_checked(content["attribute"], str),
        gaps=_each(content["gaps"], _figure),
        by_group=_each(content["by_group"], _group),
        worst_group=content["worst_group"]["group"] if "worst_group" in content else None,
        explanation_gaps=_each(content["explanation_gaps"], _figures),
        undefined=tuple(_checked(line, str) for line in content.get("undefined", [])),
        authors=_each(content.get("authors", {}), _number),
    )


def _fairness_to_json(fairness: Fairness) -> dict[str, Any]:
    content: dict[str, Any] = {
        "attribute": fairness.attribute,
        "gaps": _figures_to_json(fairness.gaps),
        "by_group": _each(fairness.by_group, _group_to_json),
    }
    if fairness.worst_accuracy is not None:
        content["worst_group"] = {
            "group": fairness.worst_group,
            "accuracy": asdict(fairness.worst_accuracy),
        }
    content["explanation_gaps"] = _each(fairness.explanation_gaps, _figures_to_json)
    if fairness.authors:
        content["authors"] = dict(fairness.authors)
    content["undefined"] = list(fairness.undefined)
    return content


def _sufficient(content: Mapping[str, Any]) -> Sufficient:
    beside = ("coverage_asked", "calibrated_on", "tested_on")
    return Sufficient(
        coverage_asked=_checked(content["coverage_asked"], float),
        calibrated_on=_checked(content["calibrated_on"], int),
        tested_on=_checked(content["tested_on"], int),
        explainers={
            name: SufficientPatches(
                _checked(value["patches"], int),
                _figure(value["coverage"]),
                _figure(value["share_of_patches"]),
            )
            for name, value in content.items()
            if name not in beside
        },
    )


def _sufficient_to_json(sufficient: Sufficient) -> dict[str, Any]:
    return {
        "coverage_asked": sufficient.coverage_asked,
        "calibrated_on": sufficient.calibrated_on,
        "tested_on": sufficient.tested_on,
        **_each(sufficient.explainers, asdict),
    }


def _group(content: Mapping[str, Any]) -> Group:
    beside = ("images", "small", "explanations")
    return Group(
        images=_checked(content["images"], int),
        small=_checked(content["small"], bool),
        figures={name: _figure(value) for name, value in content.items() if name not in beside},
        explanations=_each(content.get("explanations", {}), _figures),
    )


def _group_to_json(group: Group) -> dict[str, Any]:
    content = {"images": group.images, "small": group.small, **_figures_to_json(group.figures)}
    if group.explanations:
        content["explanations"] = _each(group.explanations, _figures_to_json)
    return content


def _counts(rows: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    counts = tuple(tuple(_checked(count, int) for count in row) for row in rows)
    if any(len(row) != len(counts) for row in counts):
        raise ValueError("a confusion matrix that is not square")
    return counts


def _each(values: Mapping[str, Any], convert: Callable[[Any], Value]) -> dict[str, Value]:
    return {name: convert(value) for name, value in values.items()}


def _known(metric: str) -> str:
    if metric not in METRICS:
        raise ValueError(f"{metric!r} is not among the measures of METRICS")
    return metric


def _checked(value: Any, *types: type[Value]) -> Value:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        expected = " or ".join(kind.__name__ for kind in types)
        raise TypeError(f"{type(value).__name__} in place of {expected}")
    return value


def _number(value: Any) -> float | None:
    return None if value is None else _checked(value, int, float)


def _one_of(value: Any, *choices: Any) -> Any:
    if value not in choices:
        raise ValueError(f"none of {', '.join(choices)}")
    return value


def _version(content: Any) -> str:
    """What wrote the file, as far as it says; safe to print."""
    try:
        return repr(str(content["provenance"]["version"]))[1:-1][:40]
    except (LookupError, TypeError):
        return "(unknown version)"


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)
