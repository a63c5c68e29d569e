"""`evaluation.json` as the tables of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iavit.report.cells import (
    NOTHING,
    Cell,
    Table,
    between,
    cell,
    number,
    p_value,
    plain_table,
    share,
    words,
)
from iavit.report.findings import (
    BASELINE,
    LOWER_IS_BETTER,
    METRICS,
    Evaluation,
    columns,
    ranked,
    verdict,
)
from iavit.report.terminal import PREDICTION

SPEED = "ms an image ↓"
AVERAGE = "average"  # over substrates
FEW = "few images"  # of a group: what is said of it is uncertain


def prediction_table(evaluation: Evaluation) -> Table:
    """What the two branches say: shares in per cent, other measures as numbers."""
    rows = []
    for key, value in evaluation["prediction"].items():
        name = PREDICTION.get(key, words(key).replace("ece", "calibration error (ECE)"))
        if isinstance(value, Mapping):
            rows.append((name, [share(value) if key in PREDICTION else cell(value)]))
        else:
            rows.append((name, [Cell(number(value))]))
    return Table(["measure", "mean and 95 % interval"], rows)


def explainer_table(evaluation: Evaluation) -> Table:
    """Explainers, best difference first, by metrics and time; the best of a column is told."""
    shown = columns(evaluation)
    best = {metric: _best(evaluation, section, metric) for metric, (section, _) in shown.items()}
    speeds = {
        name: figures["seconds_per_image"] for name, figures in evaluation["faithfulness"].items()
    }
    rivals = [s for name, s in speeds.items() if s is not None and name != BASELINE]
    rows = []
    for name in ranked(evaluation):
        cells = []
        for metric, (section, _) in shown.items():
            figure = evaluation[section].get(name, {}).get(metric)
            wins = name in best[metric]
            cells.append(cell(figure, "best" if wins else "") if figure else Cell(NOTHING))
        seconds = speeds[name]
        fastest = name != BASELINE and seconds is not None and seconds == min(rivals)
        milliseconds = None if seconds is None else 1000 * seconds
        rows.append((name, [*cells, Cell(number(milliseconds, 2), word="best" if fastest else "")]))
    return Table(["explainer", *(heading for _, heading in shown.values()), SPEED], rows)


def comparison_table(evaluation: Evaluation) -> Table | None:
    """The first explainer minus each other one, a column a metric; None with a single one."""
    first = next((entry["a"] for entry in evaluation["comparisons"]), None)
    if first is None:
        return None
    comparisons = [entry for entry in evaluation["comparisons"] if entry["a"] == first]
    metrics = list(dict.fromkeys(entry["metric"] for entry in comparisons))
    found = {(entry["b"], entry["metric"]): entry for entry in comparisons}
    others = [name for name in ranked(evaluation) if any(other == name for other, _ in found)]
    rows = [
        (
            name,
            [
                _compared(found[name, metric], metric) if (name, metric) in found else Cell(NOTHING)
                for metric in metrics
            ],
        )
        for name in others
    ]
    known = columns(evaluation)
    headings = [known[m][1] if m in known else words(m) for m in metrics]
    return Table([f"{first} against", *headings], rows)


def substrate_table(evaluation: Evaluation) -> Table | None:
    """Insertion minus deletion by what stands in for a removed patch, a row a substrate.

    A column an explainer, the highest average first; None where no substrate was compared.
    """
    faithfulness = evaluation["faithfulness"]
    names = [
        name
        for name in ranked(evaluation, "mean_difference")
        if faithfulness[name].get("substrates")
    ]
    if not names:
        return None
    substrates = list(dict.fromkeys(s for name in names for s in faithfulness[name]["substrates"]))
    rows = {
        AVERAGE: {name: faithfulness[name].get("mean_difference") for name in names},
        **{
            substrate: {
                name: faithfulness[name]["substrates"].get(substrate, {}).get("difference")
                for name in names
            }
            for substrate in substrates
        },
    }
    return Table(["substrate", *names], [(row, _row(figures)) for row, figures in rows.items()])


def fairness_tables(evaluation: Evaluation) -> dict[str, Table]:
    """The gaps between groups, and what was measured of each group; empty without groups."""
    fairness = evaluation.get("fairness")
    if not fairness:
        return {}
    gaps = [(words(name), [cell(figure)]) for name, figure in fairness["gaps"].items()]
    groups = {
        f"{group} ({FEW})" if of.get("small") else group: {
            key: value for key, value in of.items() if key != "small"
        }
        for group, of in fairness["by_group"].items()
    }
    return {
        "gaps": Table(["gap between groups", "mean and 95 % interval"], gaps),
        "by_group": _across(plain_table("measure", groups)),
    }


def sanity_table(evaluation: Evaluation) -> Table | None:
    """What became of each explainer's maps when the model's parameters were drawn anew."""
    sanity = evaluation.get("sanity")
    return plain_table("explainer", sanity) if sanity else None


def protocol_tables(evaluation: Evaluation) -> dict[str, Table]:
    """Each source's own protocol, followed to the letter: its name to a table of explainers."""
    protocols: Mapping[str, Any] = evaluation.get("protocols") or {}
    return {name: plain_table("explainer", of) for name, of in protocols.items()}


def _row(figures: Mapping[str, Any]) -> list[Cell]:
    """Cells of one substrate; the highest mean, as it is printed, is the best."""
    means = {
        name: round(figure["mean"], 3)
        for name, figure in figures.items()
        if figure is not None and figure["mean"] is not None and name != BASELINE
    }
    best = [name for name in means if means[name] == max(means.values())]
    return [
        Cell(NOTHING) if figure is None else cell(figure, "best" if name in best else "")
        for name, figure in figures.items()
    ]


def _across(tall: Table) -> Table:
    """Rows for columns: groups are few and their measures many."""
    corner, *headings = tall.headings
    turned = zip(*(cells for _, cells in tall.rows), strict=True)
    rows = [(heading, list(cells)) for heading, cells in zip(headings, turned, strict=True)]
    return Table([corner, *(name for name, _ in tall.rows)], rows)


def _best(evaluation: Evaluation, section: str, metric: str) -> list[str]:
    """Who has the best mean as it is printed; the baseline takes no part."""
    if metric not in METRICS:
        return []  # which direction is better is not known
    means = {
        name: round(figures[metric]["mean"], 3)
        for name, figures in evaluation[section].items()
        if name != BASELINE and metric in figures and figures[metric]["mean"] is not None
    }
    if not means:
        return []
    top = (min if metric in LOWER_IS_BETTER else max)(means.values())
    return [name for name, mean in means.items() if mean == top]


def _compared(difference: Mapping[str, Any], metric: str) -> Cell:
    mean = number(difference["mean"], plus=True)
    p = p_value(difference.get("adjusted_p"))
    return Cell(mean, between(difference), verdict(difference, metric), p)
