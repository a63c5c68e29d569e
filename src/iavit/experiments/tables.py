"""The study's tables: what they hold, and how they are written as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor

from iavit.evaluate.evaluation import Evaluation, Figure
from iavit.evaluate.metrics import METRICS
from iavit.evaluate.statistics import interval
from iavit.experiments.seeds import Estimate, difference, over_seeds, pooled_difference
from iavit.experiments.variants import ALIGNMENTS, REFERENCE, VARIANTS, Part, Planned

# How a column's figures are shown: a share in per cent, a number, a difference of shares in
# points, a difference of numbers.
Kind = Literal["percent", "number", "points", "change"]
SUBJECT = "interpreter"  # the explainer that the ablation is about
NOTHING = "–"
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Measured:
    """What a run left: its predictions, (n,) int64 each, and its `evaluation.json`.

    Its figures are drawn once, as a run is compared with many others.
    """

    planned: Planned
    predictions: Mapping[str, Tensor]
    evaluation: Evaluation

    @cached_property
    def accuracy(self) -> Figure | None:
        """The predictor's, over the test images."""
        return _share(hits(self))

    @cached_property
    def interpreter_accuracy(self) -> Figure | None:
        """None where there is no interpreter that was trained."""
        return _share(hits(self, "interpreter"))

    @cached_property
    def agreement(self) -> Figure | None:
        """How often both branches say the same."""
        if "interpreter" not in self.predictions:
            return None
        return interval(self.predictions["predictor"] == self.predictions["interpreter"])


@dataclass(frozen=True)
class Table:
    """columns: key to heading and kind. rows: name to key to what is known of it."""

    name: str
    title: str
    caption: str
    first: str
    columns: Mapping[str, tuple[str, Kind]]
    rows: Mapping[str, Mapping[str, Estimate | None]]

    def cells(self, row: str) -> list[str]:
        """A row's cells as they are read."""
        return [shown(self.rows[row].get(key), kind) for key, (_, kind) in self.columns.items()]


def shown(estimate: Estimate | None, kind: Kind) -> str:
    """A figure as text: `± ` its spread over seeds, or its interval in brackets."""
    if estimate is None:
        return NOTHING
    scale, digits = (100.0, 1) if kind in ("percent", "points") else (1.0, 3)
    change = kind in ("points", "change")

    def number(value: float, plus: bool = False) -> str:
        text = f"{scale * value:{'+' if plus else ''}.{digits}f}".replace("-", MINUS)
        zero = not any(digit in text for digit in "123456789")
        return text.lstrip(f"+{MINUS}") if zero else text

    unit = " %" if kind == "percent" else ""
    if estimate.spread is not None and not change:
        return f"{number(estimate.mean)} ± {number(estimate.spread)}{unit}"
    between = ""
    if estimate.low is not None and estimate.high is not None:
        between = f" [{number(estimate.low)}, {number(estimate.high)}]"
    return f"{number(estimate.mean, change)}{between}{unit}"


def markdown(table: Table) -> str:
    """The table with its title and caption."""
    headings = [table.first, *(heading for heading, _ in table.columns.values())]
    lines = [f"## {table.title}", "", table.caption, "", _line(headings)]
    lines.append(_line(["---"] * len(headings)))
    lines += [_line([row, *table.cells(row)]) for row in table.rows]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def as_csv(table: Table) -> str:
    """A row a figure, with all its digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([table.first, "measure", "mean", "low", "high", "spread", "count"])
    for row, cells in table.rows.items():
        for key in table.columns:
            estimate = cells.get(key)
            if estimate is not None:
                numbers = [estimate.mean, estimate.low, estimate.high, estimate.spread]
                written = ["" if value is None else f"{value:.6g}" for value in numbers]
                writer.writerow([row, key, *written, estimate.count])
    return text.getvalue()


def hits(measured: Measured, branch: str = "predictor") -> Tensor | None:
    """(n,) bool, where a branch is right; None where it was not trained."""
    if branch not in measured.predictions:
        return None
    return measured.predictions[branch] == measured.predictions["label"]


def _share(right: Tensor | None) -> Figure | None:
    return None if right is None else interval(right)


def explained(explainer: str, metric: str) -> Callable[[Measured], Figure | None]:
    """A metric of an explainer, read from a run's evaluation."""
    return lambda measured: measured.evaluation.figures(explainer).get(metric)


Measure = Callable[[Measured], Figure | None]
PREDICTION: dict[str, tuple[str, Kind, Measure]] = {
    "accuracy": ("accuracy", "percent", lambda measured: measured.accuracy),
    "interpreter_accuracy": (
        "interpreter's accuracy",
        "percent",
        lambda measured: measured.interpreter_accuracy,
    ),
    "agreement": ("agreement", "percent", lambda measured: measured.agreement),
}
# Of explanations: what the terminal shows first of an evaluation.
EXPLAINED: dict[str, tuple[str, Kind]] = {
    name: (metric.column, "number")
    for name, metric in METRICS.items()
    if metric.section != "prediction" and metric.shown == "first"
}
ALL: dict[str, tuple[str, Kind, Measure]] = PREDICTION | {
    metric: (heading, kind, explained(SUBJECT, metric))
    for metric, (heading, kind) in EXPLAINED.items()
}


def of_variant(done: Sequence[Measured], variant: str) -> list[Measured]:
    """A variant's runs, in the order of their seeds."""
    return [run for run in done if run.planned.variant == variant]


def matched(done: Sequence[Measured], variant: str, other: str) -> list[tuple[Measured, Measured]]:
    """Runs of two variants, of each seed that has both."""
    others = {run.planned.seed: run for run in of_variant(done, other)}
    return [
        (run, others[run.planned.seed])
        for run in of_variant(done, variant)
        if run.planned.seed in others
    ]


def variants_of(done: Sequence[Measured], part: Part) -> list[str]:
    """The variants of a part of which a run is done, in their own order."""
    there = {run.planned.variant for run in done}
    return [name for name, variant in VARIANTS.items() if variant.part == part and name in there]


def _filled(table: Table) -> Table:
    """Without the columns of which nothing is known."""
    known = {
        key: column
        for key, column in table.columns.items()
        if any(cells.get(key) is not None for cells in table.rows.values())
    }
    return Table(table.name, table.title, table.caption, table.first, known, table.rows)


def accuracy_table(done: Sequence[Measured]) -> Table:
    """Plain ViT, predictor and interpreter."""
    rows = {}
    for name in variants_of(done, "main"):
        pairs = matched(done, name, "plain")
        baseline = [] if name == "plain" else pairs
        right = [(hits(a), hits(b)) for a, b in baseline]
        seeds = [(a.accuracy, b.accuracy) for a, b in baseline]
        rows[VARIANTS[name].summary] = {
            key: over_seeds([measure(run) for run in of_variant(done, name)])
            for key, (_, _, measure) in PREDICTION.items()
        } | {
            "minus_plain": difference(seeds) if len(seeds) > 1 else None,
            "minus_plain_images": pooled_difference(
                [(a, b) for a, b in right if a is not None and b is not None]
            ),
        }
    columns: dict[str, tuple[str, Kind]] = {
        "accuracy": ("predictor", "percent"),
        "interpreter_accuracy": ("interpreter", "percent"),
        "agreement": ("agreement", "percent"),
        "minus_plain": ("predictor minus plain ViT, points, over seeds", "points"),
        "minus_plain_images": ("predictor minus plain ViT, points, over images", "points"),
    }
    return _filled(
        Table(
            "accuracy",
            "Accuracy of the plain ViT, the predictor and the interpreter",
            "On the test images; all predictors are trained equally long, and an interpreter that "
            "comes after its predictor as long again. "
            "±: standard deviation over seeds; in brackets 95 % intervals: over seeds (Student), "
            "with one seed over images; “over images”: images of all seeds, paired.",
            "variant",
            columns,
            rows,
        )
    )


def objective_table(done: Sequence[Measured], part: Part, reference: str, title: str) -> Table:
    """Variants of the objective by everything that is measured of the interpreter."""
    rows: dict[str, dict[str, Estimate | None]] = {}
    changed = ("agreement", "difference", "pointing_game")
    for name in variants_of(done, part):
        cells = {
            key: over_seeds([measure(run) for run in of_variant(done, name)])
            for key, (_, _, measure) in ALL.items()
        }
        pairs = [] if name == reference else matched(done, name, reference)
        for key in changed:
            measure = ALL[key][2]
            cells[f"{key}_change"] = difference([(measure(a), measure(b)) for a, b in pairs])
        rows[VARIANTS[name].summary] = cells
    columns: dict[str, tuple[str, Kind]] = {
        key: (heading, kind) for key, (heading, kind, _) in ALL.items()
    }
    for key in changed:
        kind: Kind = "points" if key == "agreement" else "change"
        columns[f"{key}_change"] = (f"{ALL[key][0].rstrip(' ↑')}, change", kind)
    return _filled(
        Table(
            "ablation" if part == "ablation" else "terms",
            title,
            f"Insertion, deletion, localisation: of the {SUBJECT}'s attention. "
            f"Change: against “{VARIANTS[reference].summary}”, with 95 % intervals, over seeds "
            "where there are two or more. ±: standard deviation over seeds.",
            "variant",
            columns,
            rows,
        )
    )


def factor_table(done: Sequence[Measured]) -> Table:
    """What one choice changes, whatever the others are: over matched pairs of the whole grid."""
    contrasts: dict[str, list[tuple[Measured, Measured]]] = {}
    for other in ALIGNMENTS[1:]:
        contrasts[f"{other} instead of mmd"] = _swapped(done, "mmd", other)
    contrasts["joint instead of detached"] = _swapped(done, "detached", "joint")
    contrasts["head positional instead of mean"] = _swapped(done, "mean", "positional")
    for name in variants_of(done, "ablation"):
        if name.startswith("no_"):
            contrasts[VARIANTS[name].summary] = matched(done, name, REFERENCE)
    rows = {
        name: {
            key: difference([(measure(a), measure(b)) for a, b in pairs])
            for key, (_, _, measure) in ALL.items()
        }
        for name, pairs in contrasts.items()
        if pairs
    }
    columns: dict[str, tuple[str, Kind]] = {
        key: (heading, "points" if kind == "percent" else "change")
        for key, (heading, kind, _) in ALL.items()
    }
    return _filled(
        Table(
            "factors",
            "What each choice of the objective changes",
            "Means of the differences between runs that differ in nothing else, over seeds and "
            "all other choices of the grid; 95 % intervals (Student) over these pairs, which are "
            "taken for independent. Accuracies and agreement in points.",
            "choice",
            columns,
            rows,
        )
    )


def _swapped(done: Sequence[Measured], old: str, new: str) -> list[tuple[Measured, Measured]]:
    """Pairs (new, old) of runs of the grid that differ in one word of their name alone."""
    grid = [name for name in variants_of(done, "ablation") if name not in ("authors",)]
    pairs = []
    for name in grid:
        words = _words(name)
        if old in words:
            other = "_".join(new if word == old else word for word in words)
            pairs += matched(done, other, name)
    return pairs


def _words(name: str) -> list[str]:
    """Alignment, gradient and head of a variant of the grid."""
    return name.rsplit("_", 2)


def explainer_table(done: Sequence[Measured], variant: str) -> Table:
    """Explainers on one variant's models, the best difference first."""
    runs = of_variant(done, variant)
    names = list(dict.fromkeys(name for run in runs for name in run.evaluation.faithfulness))
    rows = {
        name: {
            metric: over_seeds([explained(name, metric)(run) for run in runs])
            for metric in EXPLAINED
        }
        for name in names
    }

    def rank(name: str) -> float:
        best = rows[name]["difference"]
        return -best.mean if best is not None else float("inf")

    return _filled(
        Table(
            f"explainers-{variant.replace('_', '-')}",
            f"Explainers on: {VARIANTS[variant].summary}",
            "↑ higher is better, ↓ lower is better. ±: standard deviation over seeds; in "
            "brackets, with one seed, 95 % intervals over images.",
            "explainer",
            EXPLAINED,
            {name: rows[name] for name in sorted(names, key=rank)},
        )
    )
