"""`evaluation.json` as charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from iavit.report import charts, cost, findings, ranking
from iavit.report.charts import Chart, Line, Style

CURVES = {"insertion": "patches shown", "deletion": "patches removed"}
RANKINGS = {  # metric to the title of its ranking
    "difference": "insertion minus deletion",
    "mean_difference": "insertion minus deletion, averaged over substrates",
}


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
    chosen = dict(zip([first, *rivals], charts.DISTINCT, strict=False))
    chosen |= {findings.BASELINE: charts.BASELINE}
    return {name: chosen.get(name, charts.FAINT) for name in ranked}


def curve_charts(evaluation: Mapping[str, Any], styles: Mapping[str, Style]) -> list[Chart]:
    """Insertion and deletion of every explainer, with bands where they are known."""
    drawn = []
    # Faint lines first, the best ones last and on top.
    order = sorted(styles, key=lambda name: styles[name] != charts.FAINT)
    for curve, x_label in CURVES.items():
        lines = []
        for name in order:
            of = _explained(evaluation)[name]["curves"]
            band = None if styles[name] == charts.FAINT else _band(of, curve)
            lines.append(Line(name, styles[name], of["fractions"], of[curve], band))
        drawing = charts.chart(
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
            ranking.Ranked(
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
            drawing = ranking.ranking(
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
    means = {name: of["difference"]["mean"] for name, of in _explained(evaluation).items()}
    known = {name: mean for name, mean in means.items() if mean is not None}
    chance = known.pop(findings.BASELINE, None)
    seconds = {name: _explained(evaluation)[name]["seconds_per_image"] for name in known}
    dots = [
        cost.Priced(name, 1000 * seconds[name], mean, name == findings.subject(evaluation))
        for name, mean in known.items()
        if seconds[name]
    ]
    if not dots:
        return None
    drawing = cost.cost(
        dots,
        None if chance is None else (findings.BASELINE, chance),
        name="cost",
        label="insertion minus deletion over the milliseconds that an explainer takes an image",
    )
    return Chart("cost beside faithfulness", Markup(drawing))
