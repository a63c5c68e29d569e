"""Are predictions, and explanations, as good for one group of images as for another?

Gaps of predictions are those of fairlearn, with intervals that are stratified by group. What is
more: gaps of *explanations*. A model may be equally right on two groups and yet explain itself
worse on one of them.

A gap is the largest minus the smallest value over groups, so it is never below 0, and by chance
alone it is above: look at the interval, at the sizes of the groups, and at which are small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from iavit.evaluate import confusion
from iavit.evaluate.authors_fairness import authors_fairness
from iavit.evaluate.evaluation import UNDEFINED, Fairness, Figure, Figures, Group
from iavit.evaluate.prediction import agreement
from iavit.evaluate.statistics import interval
from iavit.evaluate.subjects import Predicted

SMALL = 30  # images: a group with fewer is flagged, its figures are hardly more than noise
# Of what is measured of each explanation, what is compared between groups.
OF_EXPLANATIONS = ("difference", "pointing_game", "evidence_mass", "shortcut_mass")
# What a group's gap needs that a group may lack, to the words for it.
NEEDED = {
    "true_positive_rate": "no image of class '{}'",
    "false_positive_rate": "no image of another class than '{}'",
}

ExplainerValues = Mapping[str, Mapping[str, Tensor]]  # explainer to metric to (n,) values


@dataclass(frozen=True)
class Names:
    """What the attribute, its groups and the classes are called."""

    attribute: str
    groups: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Answers:
    """Labels, predictions and groups of n images: (n,) int64 each.

    agreement: (n,) 0 or 1, whether the interpreter says the same; None without an interpreter.
    """

    labels: Tensor
    predicted: Tensor
    groups: Tensor
    agreement: Tensor | None = None


def fairness(
    answers: Answers,
    names: Names,
    values: ExplainerValues | None = None,
    *,
    authors: bool = False,
) -> Fairness:
    """Gaps between the groups and the figures of each group.

    With two classes, class 1 is the positive one. With more, every class is looked at against
    the rest, and a gap is the largest over classes (`..._mean`: their mean).

    - `accuracy`, `balanced_accuracy` (mean over classes of the share found): gaps of these.
    - `demographic_parity`: gap in how often the class is predicted.
    - `equal_opportunity`: gap in how often the class is found where it is.
    - `equalised_odds`: the larger of that and the gap in false positives.
    - `agreement`: gap in how often the interpreter says what the predictor says.

    A figure that is not defined, as where a group has no positives, is `UNDEFINED`, and
    `undefined` says why.

    values: of each explainer's measures, image by image, in the order of `answers`.
    authors: also the notebooks' figures, under the notebooks' names (`authors_fairness`).
    """
    present, answers, names, absent = _present(answers, names)
    shape = (len(present), len(names.classes))
    counts = confusion.confusions(
        answers.labels.numpy(), answers.predicted.numpy(), answers.groups.numpy(), shape
    )
    by_group = _by_group(counts, answers, names, values or {})
    if len(present) < 2:
        alone = f"all images are of one group, '{present[0]}': there is nothing to compare"
        return Fairness(names.attribute, {}, by_group, None, {}, (*absent, alone))
    gaps = _prediction_gaps(counts, answers, names)
    if answers.agreement is not None:
        gaps["agreement"] = _value_gap(answers.agreement, answers.groups)
    accuracies = {name: group.figures["accuracy"].mean or 0.0 for name, group in by_group.items()}
    return Fairness(
        names.attribute,
        gaps,
        by_group,
        worst_group=min(accuracies, key=accuracies.__getitem__),
        explanation_gaps={
            name: {metric: _value_gap(found[metric], answers.groups) for metric in _compared(found)}
            for name, found in (values or {}).items()
        },
        undefined=(*absent, *_undefined(counts, names)),
        authors=authors_fairness(counts) if authors else {},
    )


def fairness_of(
    predicted: Predicted, values: ExplainerValues, names: Names | None = None
) -> Fairness | None:
    """`fairness` of what a model answers, or None where the images are of no groups.

    values: of each explainer's measures, of the same images in their order.
    names: by default groups and classes are called by their numbers.
    """
    if predicted.groups is None:
        return None
    chosen = predicted.logits.argmax(dim=1)
    same = None
    if predicted.interpreter_logits is not None:
        same = agreement(predicted.logits, predicted.interpreter_logits)
    if names is None:
        groups = int(predicted.groups.max()) + 1
        names = Names("group", _numbers(groups), _numbers(predicted.logits.shape[1]))
    return fairness(Answers(predicted.labels, chosen, predicted.groups, same), names, values)


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))


def _present(answers: Answers, names: Names) -> tuple[tuple[str, ...], Answers, Names, list[str]]:
    """The groups that have images, numbered anew, and a line for each that has none."""
    found, numbers = answers.groups.unique(return_inverse=True)
    present = tuple(names.groups[index] for index in found.tolist())
    absent = [f"group '{name}' has no image" for name in names.groups if name not in present]
    renumbered = Answers(answers.labels, answers.predicted, numbers, answers.agreement)
    return present, renumbered, Names(names.attribute, present, names.classes), absent


def _by_group(
    counts: np.ndarray, answers: Answers, names: Names, values: ExplainerValues
) -> dict[str, Group]:
    """Each group's figures; rates of a class against the rest only where there are two classes."""
    draws = [confusion.rates(block) for block in confusion.resampled(counts, seed=0)]
    rates = confusion.rates(counts)
    shown = ["accuracy", "balanced_accuracy"]
    if len(names.classes) == 2:
        shown += ["selection_rate", "true_positive_rate", "false_positive_rate"]
    found = {}
    for number, name in enumerate(names.groups):
        chosen = answers.groups == number
        figures = {}
        for rate in shown:
            drawn = np.concatenate([block[rate][:, number].reshape(-1) for block in draws])
            figures[rate] = _figure(float(rates[rate][number].item()), drawn)
        if answers.agreement is not None:
            figures["agreement"] = interval(answers.agreement[chosen])
        explanations: dict[str, Figures] = {
            explainer: {metric: interval(table[metric][chosen]) for metric in _compared(table)}
            for explainer, table in values.items()
        }
        size = int(chosen.sum())
        found[name] = Group(size, size < SMALL, figures, explanations)
    return found


def _prediction_gaps(counts: np.ndarray, answers: Answers, names: Names) -> dict[str, Figure]:
    """fairlearn's values, with intervals from counts drawn anew within each group."""
    values = confusion.gaps(counts) | _by_fairlearn(answers, counts)
    draws = [confusion.gaps(block) for block in confusion.resampled(counts, seed=0)]
    return {
        name: _figure(float(value), np.concatenate([block[name] for block in draws]))
        for name, value in values.items()
    }


def _by_fairlearn(answers: Answers, counts: np.ndarray) -> dict[str, float]:
    """The gaps that fairlearn has, of each class against the rest, where they are defined.

    It calls a rate without images 0; those are left to the counts, which know better.
    """
    from fairlearn.metrics import (  # it pulls pandas, which takes a while
        MetricFrame,
        demographic_parity_difference,
        equal_opportunity_difference,
        equalized_odds_difference,
    )
    from sklearn.metrics import accuracy_score

    known = {
        "demographic_parity": demographic_parity_difference,
        "equal_opportunity": equal_opportunity_difference,
        "equalised_odds": equalized_odds_difference,
    }
    labels, predicted, groups = (
        part.numpy() for part in (answers.labels, answers.predicted, answers.groups)
    )
    frame = MetricFrame(
        metrics=accuracy_score, y_true=labels, y_pred=predicted, sensitive_features=groups
    )
    found = {"accuracy": float(frame.difference(method="between_groups"))}
    classes = [1] if counts.shape[-1] == 2 else list(range(counts.shape[-1]))
    for name, defined in confusion.class_gaps(confusion.rates(counts)).items():
        each = [
            known[name](
                (labels == label).astype(int),
                (predicted == label).astype(int),
                sensitive_features=groups,
            )
            for label, value in zip(classes, defined, strict=True)
            if not np.isnan(value)
        ]
        if each:
            found[name] = float(max(each))
            if len(classes) > 1:
                found[f"{name}_mean"] = float(np.mean(each))
    return found


def _value_gap(values: Tensor, groups: Tensor) -> Figure:
    """The gap between the groups' means of (n,) values, images drawn anew within each group.

    NaN values are left out; where a group has no other, the gap is not defined.
    """
    generator = np.random.default_rng(0)
    means, drawn = [], []
    for number in range(int(groups.max()) + 1):
        members = values[groups == number].double().numpy()
        members = members[~np.isnan(members)]
        if not len(members):
            return UNDEFINED
        means.append(members.mean())
        drawn.append(_resampled_means(members, generator))
    draws = np.stack(drawn)  # (G, resamples)
    return _figure(float(max(means) - min(means)), draws.max(axis=0) - draws.min(axis=0))


def _resampled_means(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(RESAMPLES,) means of draws with replacement, in blocks that bound the memory."""
    size = max(1, confusion.BLOCK // len(values))
    means = []
    for start in range(0, confusion.RESAMPLES, size):
        count = min(size, confusion.RESAMPLES - start)
        chosen = generator.integers(len(values), size=(count, len(values)))
        means.append(values[chosen].mean(axis=1))
    return np.concatenate(means)


def _undefined(counts: np.ndarray, names: Names) -> list[str]:
    """A line for each group and class for which a rate, and so a gap, is not defined."""
    rates = confusion.rates(counts)
    positives = names.classes[1:] if len(names.classes) == 2 else names.classes
    lines = []
    for rate, lacks in NEEDED.items():
        for group, label in np.argwhere(np.isnan(rates[rate])):
            gap = "equal_opportunity and equalised_odds"
            gap = gap if rate == "true_positive_rate" else "equalised_odds"
            left = "are not defined" if len(positives) == 1 else "leave this class out"
            lines.append(
                f"group '{names.groups[group]}' has {lacks.format(positives[label])}: {gap} {left}"
            )
    for group in np.flatnonzero(np.isnan(rates["balanced_accuracy"])):
        lines.append(
            f"group '{names.groups[group]}' lacks a class: balanced_accuracy is not defined"
        )
    return lines


def _figure(value: float, draws: np.ndarray) -> Figure:
    if np.isnan(value):
        return UNDEFINED
    return Figure(value, *confusion.bounds(draws))


def _compared(values: Mapping[str, Tensor]) -> Sequence[str]:
    return [metric for metric in OF_EXPLANATIONS if metric in values]
