"""The study's tables by group: fairness, and what a mark that tells the label does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from iavit.evaluate.evaluation import Fairness, Figure
from iavit.evaluate.fairness import Answers, Names, fairness
from iavit.evaluate.metrics import METRICS
from iavit.evaluate.statistics import interval
from iavit.experiments.seeds import Estimate, over_seeds
from iavit.experiments.tables import EXPLAINED, Kind, Measured, Table, explained, of_variant
from iavit.experiments.variants import VARIANTS

GAPS: dict[str, str] = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "demographic_parity": "demographic parity",
    "equal_opportunity": "equal opportunity",
    "equalised_odds": "equalised odds",
    "agreement": "agreement",
}


def fairness_of(measured: Measured, names: Names) -> Fairness | None:
    """Group metrics of a run's predictions over all its test images; None without groups.

    With two groups and two classes also the authors' figures, under their names.
    """
    if "group" not in measured.predictions:
        return None
    predictions = measured.predictions
    same = None
    if "interpreter" in predictions:
        same = (predictions["predictor"] == predictions["interpreter"]).float()
    answers = Answers(predictions["label"], predictions["predictor"], predictions["group"], same)
    binary = len(names.classes) == 2 and len(answers.groups.unique()) == 2
    return fairness(answers, names, authors=binary)


def fairness_table(
    done: Sequence[Measured], found: Mapping[str, Fairness], attribute: str
) -> Table:
    """Gaps of predictions between groups.

    found: run to what `fairness_of` says.
    """
    authors = list(dict.fromkeys(name for fairness in found.values() for name in fairness.authors))
    columns: dict[str, tuple[str, Kind]] = {gap: (name, "number") for gap, name in GAPS.items()}
    columns |= {name: (f"notebook's “{name}”", "number") for name in authors}
    columns["worst"] = ("accuracy of the worst group", "percent")
    rows: dict[str, dict[str, Estimate | None]] = {}
    for variant in _grouped(done, found):
        each = [
            found[run.planned.name]
            for run in of_variant(done, variant)
            if run.planned.name in found
        ]
        cells = {gap: over_seeds([fairness.gaps.get(gap) for fairness in each]) for gap in GAPS}
        cells |= {
            name: over_seeds([_alone(fairness, name) for fairness in each]) for name in authors
        }
        cells["worst"] = over_seeds([fairness.worst_accuracy for fairness in each])
        rows[VARIANTS[variant].summary] = cells
    swapped = (
        " The notebook's columns are as its code computes them, with labels and predictions "
        "exchanged: its “DP” is a gap of precision."
        if authors
        else ""
    )
    return Table(
        "fairness",
        f"Fairness of predictions by {attribute}",
        "Largest minus smallest value over groups; of more than two classes, each against the "
        "rest, the largest over classes. A gap is never below 0. –: not defined." + swapped,
        "variant",
        columns,
        rows,
    )


def explanation_fairness_table(
    done: Sequence[Measured], found: Mapping[str, Fairness], attribute: str
) -> Table:
    """Gaps of explanations between groups, by variant and explainer."""
    rows: dict[str, dict[str, Estimate | None]] = {}
    for variant in _grouped(done, found):
        gaps = [
            run.evaluation.fairness.explanation_gaps
            for run in of_variant(done, variant)
            if run.evaluation.fairness is not None
        ]
        for explainer in dict.fromkeys(name for each in gaps for name in each):
            cells = {
                metric: over_seeds([each.get(explainer, {}).get(metric) for each in gaps])
                for metric in EXPLAINED
            }
            if any(cell is not None for cell in cells.values()):
                rows[f"{VARIANTS[variant].summary}: {explainer}"] = cells
    known = [m for m in EXPLAINED if any(cells[m] is not None for cells in rows.values())]
    return Table(
        "explanation-fairness",
        f"Fairness of explanations by {attribute}",
        "Largest minus smallest mean over groups, of the images on which explanations are "
        "measured: few a group, so that gaps far above 0 come by chance; read the intervals.",
        "variant and explainer",
        {metric: (METRICS[metric].heading, "number") for metric in known},
        rows,
    )


def mark_table(done: Sequence[Measured], found: Mapping[str, Fairness]) -> Table:
    """Does the model follow the mark's colour, and do its explanations show it?"""
    columns: dict[str, tuple[str, Kind]] = {
        "accuracy": ("accuracy", "percent"),
        "follows": ("says the colour's class", "percent"),
        "misled": ("… of those where that is wrong", "percent"),
        "demographic_parity": ("demographic parity gap by colour", "number"),
        "pointing_game": ("interpreter on the digit ↑", "number"),
        "evidence_mass": ("… its mass on the digit ↑", "number"),
        "shortcut_mass": ("… its mass on the mark ↓", "number"),
        "random_shortcut_mass": ("a random map's", "number"),
    }
    rows = {}
    for name in ("mark_chance", "mark_shortcut"):
        runs = of_variant(done, name)
        if not runs:
            continue
        each = [found[run.planned.name] for run in runs if run.planned.name in found]
        cells = {
            "accuracy": over_seeds([_share(run, "label") for run in runs]),
            "follows": over_seeds([_share(run, "group") for run in runs]),
            "misled": over_seeds([_misled(run) for run in runs]),
            "demographic_parity": over_seeds(
                [fairness.gaps.get("demographic_parity") for fairness in each]
            ),
            "random_shortcut_mass": over_seeds(
                [explained("random", "shortcut_mass")(run) for run in runs]
            ),
        }
        for metric in ("pointing_game", "evidence_mass", "shortcut_mass"):
            cells[metric] = over_seeds([explained("interpreter", metric)(run) for run in runs])
        rows[VARIANTS[name].summary] = cells
    return Table(
        "marks",
        "Marks whose colour tells the label in training and nothing at test",
        "An honest model says the colour's class by chance, one time in ten, and its maps leave "
        "the mark alone. At test the colour is drawn without the label.",
        "training",
        columns,
        rows,
    )


def _grouped(done: Sequence[Measured], found: Mapping[str, Any]) -> list[str]:
    there = {run.planned.variant for run in done if run.planned.name in found}
    return [
        name for name, variant in VARIANTS.items() if name in there and variant.part != "ablation"
    ]


def _alone(fairness: Fairness, name: str) -> Figure | None:
    value = fairness.authors.get(name)
    return None if value is None else Figure(value, None, None)


def _share(run: Measured, column: str) -> Figure:
    """How often the predictor says what the column has; groups are colours, one a class."""
    return interval(run.predictions["predictor"] == run.predictions[column])


def _misled(run: Measured) -> Figure:
    """Of the images whose colour is another class's: how often that class is said."""
    says = run.predictions["predictor"] == run.predictions["group"]
    wrong = run.predictions["group"] != run.predictions["label"]
    return interval(torch.where(wrong, says, torch.tensor(float("nan"))))
