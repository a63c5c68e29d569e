"""An evaluation as the tables of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from iavit.evaluate.evaluation import Comparison, Evaluation, Figure
from iavit.evaluate.metrics import METRICS
from iavit.evaluate.statistics import share_interval
from iavit.report.cells import (
    NOTHING,
    SPACE,
    Cell,
    Table,
    between,
    cell,
    figure_table,
    heading,
    number,
    p_value,
    share,
)
from iavit.report.findings import BASELINE, ranked, verdict

SPEED = "ms an image ↓"
AVERAGE = "average"  # over substrates
READABLE = 20  # classes of a confusion matrix
OFTEN = 3  # classes that an image is most often taken for
FEW = "few images"  # of a group: what is said of it is uncertain
TRUST = "rank correlation of trust with insertion minus deletion of"  # an explainer


def prediction_table(evaluation: Evaluation) -> Table:
    """What the two branches say: shares in per cent, other measures as numbers."""
    rows = []
    for metric, value in evaluation.prediction.items():
        if isinstance(value, Figure):
            rows.append((heading(metric), [_in_its_unit(metric, value)]))
        else:
            rows.append((heading(metric), [Cell(number(value))]))
    for explainer, figure in evaluation.trust_correlation.items():
        rows.append((f"{TRUST} {explainer}", [cell(figure)]))
    return Table(["measure", "mean and 95 % interval"], rows)


def explainer_table(evaluation: Evaluation) -> Table:
    """Explainers, best difference first, by measures and time; the best of a column is marked."""
    names = ranked(evaluation)
    measured = {metric for name in names for metric in evaluation.figures(name)}
    metrics = sorted((m for m in METRICS if m in measured), key=_prominence)
    best = {metric: _best(evaluation, metric) for metric in metrics}
    seconds = {name: evaluation.faithfulness[name].seconds_per_image for name in names}
    fastest = min((s for name, s in seconds.items() if name != BASELINE), default=None)
    rows = []
    for name in names:
        figures = evaluation.figures(name)
        cells = [cell(figures.get(m), "best" if name in best[m] else "") for m in metrics]
        wins = name != BASELINE and seconds[name] == fastest
        cells.append(Cell(number(1000 * seconds[name], 2), word="best" if wins else ""))
        rows.append((name, cells))
    return Table(["explainer", *(METRICS[metric].column for metric in metrics), SPEED], rows)


def terms(table: Table) -> dict[str, str]:
    """What the measures that head a table's rows or columns mean."""
    named = {*table.headings, *(name for name, _ in table.rows)}
    return {
        metric.heading: metric.meaning
        for metric in METRICS.values()
        if metric.meaning and named & {metric.heading, metric.column}
    }


def class_table(evaluation: Evaluation, classes: Sequence[str]) -> Table | None:
    """How often the predictor is right on each class, and what it takes its images for instead."""
    if not evaluation.confusion:
        return None
    rows = []
    for index, (name, counts) in enumerate(zip(classes, evaluation.confusion, strict=True)):
        images, right = sum(counts), counts[index]
        wrong = {classes[other]: n for other, n in enumerate(counts) if other != index and n}
        often = sorted(wrong, key=lambda other: -wrong[other])[:OFTEN]
        taken = ", ".join(f"{other}{SPACE}({wrong[other]:,})" for other in often)
        accuracy = share(share_interval(right, images))
        rows.append((name, [Cell(f"{images:,}"), accuracy, Cell(taken or NOTHING)]))
    return Table(["true class", "images", "predicted rightly", "taken for"], rows)


def confusion_table(evaluation: Evaluation, classes: Sequence[str]) -> Table | None:
    """Images of each true class by the class predicted; None for more classes than can be read."""
    if not evaluation.confusion or len(classes) > READABLE:
        return None
    rows = [
        (name, [Cell(f"{count:,}" if count else "·") for count in counts])
        for name, counts in zip(classes, evaluation.confusion, strict=True)
    ]
    return Table(["true class, by predicted", *classes], rows)


def comparison_table(evaluation: Evaluation) -> Table | None:
    """The first explainer minus each other one, a column a metric; None with a single one."""
    if not evaluation.comparisons:
        return None
    first = evaluation.comparisons[0].a
    found = {(c.b, c.metric): c for c in evaluation.comparisons if c.a == first}
    metrics = list(dict.fromkeys(metric for _, metric in found))
    others = [name for name in ranked(evaluation) if any(other == name for other, _ in found)]
    rows = [(name, [_compared(found.get((name, m))) for m in metrics]) for name in others]
    return Table([f"{first} against", *(METRICS[metric].column for metric in metrics)], rows)


def substrate_table(evaluation: Evaluation) -> Table | None:
    """Insertion minus deletion by what stands in for a removed patch, a row a substrate.

    A column an explainer, the highest average first; None where no substrate was compared.
    """
    explained = evaluation.faithfulness
    names = [name for name in ranked(evaluation, "mean_difference") if explained[name].substrates]
    if not names:
        return None
    substrates = list(dict.fromkeys(s for name in names for s in explained[name].substrates))
    rows = {AVERAGE: {name: explained[name].figures.get("mean_difference") for name in names}}
    for substrate in substrates:
        rows[substrate] = {
            name: explained[name].substrates.get(substrate, {}).get("difference") for name in names
        }
    return Table(["substrate", *names], [(row, _row(figures)) for row, figures in rows.items()])


def fairness_tables(evaluation: Evaluation) -> dict[str, Table]:
    """The gaps between groups, and what was measured of each group; empty without groups."""
    fairness = evaluation.fairness
    if fairness is None:
        return {}
    gaps = [(heading(name), [cell(figure)]) for name, figure in fairness.gaps.items()]
    columns = {
        f"{name} ({FEW})" if group.small else name: {
            "images": Cell(f"{group.images:,}"),
            **{heading(metric): cell(figure) for metric, figure in group.figures.items()},
            **{
                f"{explainer}: {heading(metric)}": cell(figure)
                for explainer, figures in group.explanations.items()
                for metric, figure in figures.items()
            },
        }
        for name, group in fairness.by_group.items()
    }
    measures = list(dict.fromkeys(measure for cells in columns.values() for measure in cells))
    by_group = [
        (measure, [cells.get(measure, Cell(NOTHING)) for cells in columns.values()])
        for measure in measures
    ]
    return {
        "gaps": Table(["gap between groups", "mean and 95 % interval"], gaps),
        "by_group": Table(["measure", *columns], by_group),
    }


def protocol_tables(evaluation: Evaluation) -> dict[str, Table]:
    """Each source's own protocol, followed to the letter: its name to a table of explainers."""
    return {
        name: figure_table("explainer", figures) for name, figures in evaluation.protocols.items()
    }


def _prominence(metric: str) -> int:
    """What a terminal shows first stands first here, too."""
    return ("first", "further", "page").index(METRICS[metric].shown)


def _in_its_unit(metric: str, figure: Figure) -> Cell:
    return share(figure) if METRICS[metric].percent else cell(figure)


def _row(figures: Mapping[str, Figure | None]) -> list[Cell]:
    """Cells of one substrate; the highest mean, as it is printed, is the best."""
    means = _printed(figures)
    best = [name for name in means if means[name] == max(means.values())]
    return [cell(figure, "best" if name in best else "") for name, figure in figures.items()]


def _best(evaluation: Evaluation, metric: str) -> list[str]:
    """Who has the best mean as it is printed; the baseline takes no part."""
    means = _printed({n: evaluation.figures(n).get(metric) for n in evaluation.faithfulness})
    if not means:
        return []
    top = (min if METRICS[metric].better == "lower" else max)(means.values())
    return [name for name, mean in means.items() if mean == top]


def _printed(figures: Mapping[str, Figure | None]) -> dict[str, float]:
    """The means of the rivals, with the digits that are printed."""
    return {
        name: round(figure.mean, 3)
        for name, figure in figures.items()
        if name != BASELINE and figure is not None and figure.mean is not None
    }


def _compared(comparison: Comparison | None) -> Cell:
    if comparison is None:
        return Cell(NOTHING)
    figure = comparison.figure
    mean = number(figure.mean, plus=True)
    return Cell(mean, between(figure), verdict(comparison), p_value(comparison))
