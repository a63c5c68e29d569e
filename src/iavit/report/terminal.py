"""An evaluation as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from iavit.evaluate.evaluation import Evaluation, Figure
from iavit.evaluate.metrics import METRICS
from iavit.report.cells import heading, measured_images


def evaluation_tables(evaluation: Evaluation) -> Iterator[Table]:
    """The predictions, then the explainers, each figure with its 95 % interval."""
    images = f"{measured_images(evaluation)} of {evaluation.dataset}"
    predictions = _table(images, "prediction", "mean", "95 % interval")
    for metric, value in evaluation.prediction.items():
        if METRICS[metric].shown == "first" and isinstance(value, Figure):
            predictions.add_row(heading(metric), percent(value.mean), between(value))
    yield predictions
    yield from _explainers(evaluation, "faithfulness", "first", "faithfulness")
    yield from _explainers(evaluation, "faithfulness", "further", "further measures")
    yield from _explainers(evaluation, "localisation", "first", "localisation")
    yield from _protocols(evaluation)
    yield from _sufficient(evaluation)
    yield from _groups(evaluation)


def evaluation_warnings(evaluation: Evaluation) -> Iterator[str]:
    """What a reader of the tables might miss, each in one line."""
    noise = [c for c in evaluation.comparisons if c.metric == "difference" and c.inside_noise]
    if noise:
        yield (
            f"Inside the noise (95 %, corrected for all comparisons): the difference of "
            f"{noise[0].a} from {', '.join(comparison.b for comparison in noise)}."
        )
    if names := _all_needed(evaluation):
        yield f"No fewer than all patches keep the answer, in the order of {', '.join(names)}."
    for name, reason in evaluation.explainers_left_out.items():
        yield f"Left out: {name}: {reason}."
    if evaluation.images_left_out:
        yield f"Left out: {evaluation.images_left_out:,} images that could not be read."


def _sufficient(evaluation: Evaluation) -> Iterator[Table]:
    """How few patches keep the answer, the fewest first; where all are needed, no row."""
    sufficient = evaluation.sufficient
    if sufficient is None:
        return
    whole = _all_needed(evaluation)
    fewer = {name: found for name, found in sufficient.explainers.items() if name not in whole}
    if not fewer:
        return
    asked = f"{100 * sufficient.coverage_asked:g} % of new images"
    table = _table(
        f"first patches that keep the answer in {asked}",
        "explainer",
        "patches",
        "share",
        "coverage",
    )
    for name, found in sorted(fewer.items(), key=lambda row: row[1].patches):
        coverage = f"{percent(found.coverage.mean)} ({between(found.coverage)})"
        table.add_row(name, str(found.patches), percent(found.share_of_patches.mean), coverage)
    yield table


def _all_needed(evaluation: Evaluation) -> list[str]:
    """Explainers of whose first patches no fewer than all keep the answer."""
    explainers = evaluation.sufficient.explainers if evaluation.sufficient else {}
    return [name for name, found in explainers.items() if found.share_of_patches.mean == 1]


def _groups(evaluation: Evaluation) -> Iterator[Table]:
    """How each group fares: predictions, and the explanation that is compared."""
    fairness = evaluation.fairness
    if fairness is None:
        return
    compared = next(iter(evaluation.faithfulness), None)
    columns = ["images", "accuracy"]
    if compared is not None:
        columns.append(f"{compared} {METRICS['difference'].column}")
    table = _table(f"by {fairness.attribute}", "group", *columns)
    for name, group in fairness.by_group.items():
        accuracy = group.figures["accuracy"]
        cells = [f"{group.images:,}", f"{percent(accuracy.mean)} ({between(accuracy)})"]
        if compared is not None:
            explained = group.explanations.get(compared, {})
            cells.append(with_interval(explained.get("difference")))
        table.add_row(f"{name} (few images)" if group.small else name, *cells)
    yield table


def _explainers(evaluation: Evaluation, section: str, shown: str, title: str) -> Iterator[Table]:
    """A row for each explainer, if any measure of the section was taken."""
    figures = {name: evaluation.figures(name) for name in evaluation.faithfulness}
    columns = [
        name
        for name, metric in METRICS.items()
        if (metric.section, metric.shown) == (section, shown)
        and any(name in known for known in figures.values())
    ]
    if not columns:
        return
    headings = [METRICS[name].column for name in columns]
    table = _table(f"{title}, ± half the 95 % interval", "explainer", *headings)
    timed = title == "faithfulness"
    if timed:
        table.add_column("ms an image", justify="right")
    for explainer, known in figures.items():
        cells = [with_interval(known.get(name)) for name in columns]
        if timed:
            cells.append(f"{1000 * evaluation.faithfulness[explainer].seconds_per_image:.2f}")
        table.add_row(explainer, *cells)
    yield table


def _protocols(evaluation: Evaluation) -> Iterator[Table]:
    for protocol, explainers in evaluation.protocols.items():
        measures = list(next(iter(explainers.values())))
        table = _table(f"protocol {protocol}", "explainer", *map(heading, measures))
        for name, figures in explainers.items():
            table.add_row(name, *(with_interval(figures[measure]) for measure in measures))
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
    for column in headings:
        table.add_column(column)
    return table


def percent(value: float | None) -> str:
    """A share as per cent with one decimal."""
    return "–" if value is None else f"{100 * value:.1f} %"


def between(figure: Figure) -> str:
    """An interval of shares, in per cent."""
    return "–" if figure.low is None else f"{percent(figure.low)} to {percent(figure.high)}"


def with_interval(figure: Figure | None) -> str:
    """A mean and half its interval's width."""
    if figure is None or figure.mean is None:
        return "–"
    if figure.low is None or figure.high is None:
        return f"{figure.mean:.3f}"
    return f"{figure.mean:.3f} ±{(figure.high - figure.low) / 2:.3f}"
