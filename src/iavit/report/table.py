"""`evaluation.json` as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
        "shortcut_mass": "shortcut mass ↓",
    },
}


def evaluation_tables(evaluation: dict[str, Any]) -> Iterator[Table]:
    """The predictions, then the explainers, each figure with its 95 % interval."""
    images = f"{evaluation['images']:,} {evaluation['split']} images of {evaluation['dataset']}"
    predictions = Table("prediction", "mean", "95 % interval", title=images)
    for key, name in PREDICTION.items():
        figure = evaluation["prediction"][key]
        predictions.add_row(name, percent(figure["mean"]), between(figure))
    yield predictions
    for section, metrics in SECTIONS.items():
        known = [m for m in metrics if any(m in of for of in evaluation[section].values())]
        if known:
            yield _explainers(evaluation, section, {m: metrics[m] for m in known})


def _explainers(evaluation: dict[str, Any], section: str, metrics: dict[str, str]) -> Table:
    table = Table("explainer", *metrics.values(), title=f"{section}, ± half the 95 % interval")
    timed = section == "faithfulness"
    if timed:
        table.add_column("ms an image", justify="right")
    for name, of in evaluation[section].items():
        cells = [with_interval(of.get(metric)) for metric in metrics]
        table.add_row(name, *cells, *([f"{1000 * of['seconds_per_image']:.2f}"] if timed else []))
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
