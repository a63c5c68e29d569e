"""`evaluation.json` as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.table import Table

PREDICTION = {
    "predictor_accuracy": "predictor accuracy",
    "interpreter_accuracy": "interpreter accuracy",
    "agreement": "agreement",
}
SECTIONS = {  # of the evaluation: metric to heading
    "faithfulness": {
        "deletion": "deletion ↓",
        "insertion": "insertion ↑",
        "difference": "difference ↑",
    },
    "localisation": {
        "pointing_game": "pointing game ↑",
        "evidence_mass": "evidence mass ↑",
        "relevance_rank_accuracy": "rank accuracy ↑",
        "shortcut_mass": "shortcut mass ↓",
    },
}
FURTHER = {  # of faithfulness: what is measured where it is asked for
    "mean_difference": "over substrates ↑",
    "road": "ROAD ↑",
    "infidelity": "infidelity ↓",
    "max_sensitivity": "sensitivity ↓",
    "randomisation": "randomisation ↓",
}
ON_THE_PAGE = {  # of faithfulness: measured with it, but too much for a terminal
    "symmetric_relevance_gain": "symmetric relevance gain ↑",
    "positive_perturbation": "positive perturbation ↓",
    "negative_perturbation": "negative perturbation ↑",
    "sufficiency": "sufficiency ↓",
    "comprehensiveness": "comprehensiveness ↑",
    "sparsity": "sparsity ↑",
}


def evaluation_tables(evaluation: dict[str, Any]) -> Iterator[Table]:
    """The predictions, then the explainers, each figure with its 95 % interval."""
    images = f"{evaluation['images']:,} {evaluation['split']} images of {evaluation['dataset']}"
    predictions = _table(images, "prediction", "mean", "95 % interval")
    for key, name in PREDICTION.items():
        figure = evaluation["prediction"].get(key)
        if figure is None:  # a model without an interpreter
            continue
        predictions.add_row(name, percent(figure["mean"]), between(figure))
    yield predictions
    for section, metrics in SECTIONS.items():
        yield from _explainers(evaluation[section], section, metrics)
        if section == "faithfulness":
            yield from _explainers(evaluation[section], "further measures", FURTHER)
    yield from _protocols(evaluation)


def evaluation_warnings(evaluation: dict[str, Any]) -> Iterator[str]:
    """What a reader of the tables might miss, each in one line."""
    noise = [
        pair["b"]
        for pair in evaluation["comparisons"]
        if pair["metric"] == "difference" and pair.get("inside_noise")
    ]
    if noise:
        first = evaluation["comparisons"][0]["a"]
        yield (
            f"Inside the noise (95 %, corrected for all comparisons): the difference of {first} "
            f"from {', '.join(noise)}."
        )
    for name, reason in evaluation.get("explainers_left_out", {}).items():
        yield f"Left out: {name}: {reason}."
    if evaluation.get("images_left_out"):
        yield f"Left out: {evaluation['images_left_out']:,} images that could not be read."


def _protocols(evaluation: dict[str, Any]) -> Iterator[Table]:
    for protocol, of in evaluation.get("protocols", {}).items():
        measures = list(next(iter(of.values())))
        table = _table(f"protocol {protocol}", "explainer", *measures)
        for name, figures in of.items():
            table.add_row(name, *(with_interval(figures[measure]) for measure in measures))
        yield table


def _explainers(section: dict[str, Any], name: str, metrics: dict[str, str]) -> Iterator[Table]:
    """A row for each explainer, if any of the metrics was measured."""
    known = [metric for metric in metrics if any(metric in of for of in section.values())]
    if not known:
        return
    headings = [metrics[metric] for metric in known]
    table = _table(f"{name}, ± half the 95 % interval", "explainer", *headings)
    timed = name == "faithfulness"
    if timed:
        table.add_column("ms an image", justify="right")
    for explainer, of in section.items():
        cells = [with_interval(of.get(metric)) for metric in known]
        if timed:
            cells.append(f"{1000 * of['seconds_per_image']:.2f}")
        table.add_row(explainer, *cells)
    yield table


def _table(title: str, first: str, *headings: str) -> Table:
    """Without frames, so that the longest explainer's name and four figures fit 80 columns."""
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading)
    return table


def percent(value: float | None) -> str:
    """A share as per cent with one decimal."""
    return "–" if value is None else f"{100 * value:.1f} %"


def between(figure: dict[str, float | None]) -> str:
    """An interval of shares, in per cent."""
    return f"{percent(figure['low'])} to {percent(figure['high'])}"


def with_interval(figure: dict[str, float | None] | None) -> str:
    """A mean and half its interval's width."""
    if figure is None or figure["mean"] is None:
        return "–"
    assert figure["low"] is not None
    assert figure["high"] is not None
    return f"{figure['mean']:.3f} ±{(figure['high'] - figure['low']) / 2:.3f}"
