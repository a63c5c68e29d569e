"""`METRICS`, the catalogue of measures: the audit and every table of its figures are made from it.

A measure of one's own is a function in a file of its own and one line in this dictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from iavit.evaluate.faithfulness import (
    Curves,
    comprehensiveness,
    deletion,
    difference,
    insertion,
    negative_perturbation,
    positive_perturbation,
    road,
    sufficiency,
    symmetric_relevance_gain,
)
from iavit.evaluate.localisation import (
    evidence_mass,
    pointing_game,
    relevance_rank_accuracy,
    shortcut_mass,
)
from iavit.evaluate.prediction import accuracy, agreement, divergence, expected_calibration_error
from iavit.evaluate.robustness import infidelity, max_sensitivity
from iavit.evaluate.sanity import randomisation
from iavit.evaluate.sparsity import sparsity
from iavit.evaluate.subjects import Explained, Predicted
from iavit.types import Batch, Explanation


@dataclass(frozen=True)
class Metric:
    """A measure, and where its figures are shown.

    compute: an `Explained` to values (B,) of its images, NaN where one has none; in the section
        `prediction` a `Predicted` to values (n,) of all its images, or to a single number. None
        where the measure does not apply, as without evidence.
    better: which direction is better.
    section: of `evaluation.json`.
    heading: of its column or row, in words. meaning: of its figure, for a reader who is new to it.
    cost: `passes` takes many forward passes an image and is measured only where it is asked for.
    shown: in the terminal's first table of the section, in a second one there, or on the page
        alone, which shows every measure.
    percent: whether its figure is read in per cent.
    """

    compute: Callable[[Any], Tensor | float | None]
    better: Literal["higher", "lower"]
    section: Literal["prediction", "faithfulness", "localisation"]
    heading: str
    meaning: str = ""
    cost: Literal["free", "passes"] = "free"
    shown: Literal["first", "further", "page"] = "further"
    percent: bool = False

    @property
    def column(self) -> str:
        """The heading with an arrow in the better direction."""
        return f"{self.heading} {'↑' if self.better == 'higher' else '↓'}"


def of_curves(measure: Callable[[Curves], Tensor]) -> Callable[[Explained], Tensor]:
    """A measure that is read off the curves on the first substrate."""
    return lambda explained: measure(explained.first_curves)


def of_maps(
    measure: Callable[[nn.Module, Batch, Explanation], Tensor],
    needs: Literal["evidence", "shortcut"] | None = None,
) -> Callable[[Explained], Tensor | None]:
    """A measure that is read off the maps; None where the batch lacks what it needs."""

    def compute(explained: Explained) -> Tensor | None:
        if needs is not None and getattr(explained.batch, needs) is None:
            return None
        return measure(explained.model, explained.batch, explained.explanation)

    return compute


def of_explainer(measure: Callable[..., Tensor]) -> Callable[[Explained], Tensor | None]:
    """A measure that asks the explainer again, its option `explain`; None where there is none."""

    def compute(explained: Explained) -> Tensor | None:
        if explained.explain is None:
            return None
        return measure(
            explained.model, explained.batch, explained.explanation, explain=explained.explain
        )

    return compute


def of_interpreter(
    measure: Callable[[Tensor, Predicted], Tensor | float],
) -> Callable[[Predicted], Tensor | float | None]:
    """A measure of the interpreter's logits; None for a model without an interpreter."""

    def compute(predicted: Predicted) -> Tensor | float | None:
        logits = predicted.interpreter_logits
        return None if logits is None else measure(logits, predicted)

    return compute


def mean_difference(explained: Explained) -> Tensor | None:
    """The mean of `difference` over substrates; None with one, where it is that difference."""
    if len(explained.substrates) < 2:
        return None
    each = [difference(curves) for curves in explained.curves.values()]
    return torch.stack(each).mean(dim=0)


METRICS: dict[str, Metric] = {
    # Of predictions.
    "predictor_accuracy": Metric(
        lambda predicted: accuracy(predicted.logits, predicted.labels),
        "higher",
        "prediction",
        "predictor accuracy",
        meaning="share of images whose class the predictor names",
        shown="first",
        percent=True,
    ),
    "interpreter_accuracy": Metric(
        of_interpreter(lambda logits, predicted: accuracy(logits, predicted.labels)),
        "higher",
        "prediction",
        "interpreter accuracy",
        meaning="share of images whose class the interpreter names",
        shown="first",
        percent=True,
    ),
    "agreement": Metric(
        of_interpreter(lambda logits, predicted: agreement(predicted.logits, logits)),
        "higher",
        "prediction",
        "agreement",
        meaning="share of images for which both name the same class",
        shown="first",
        percent=True,
    ),
    "divergence": Metric(
        of_interpreter(lambda logits, predicted: divergence(predicted.logits, logits)),
        "lower",
        "prediction",
        "divergence",
        meaning="distance of the interpreter's probabilities from the predictor's (KL, nats)",
        shown="page",
    ),
    "predictor_ece": Metric(
        lambda predicted: expected_calibration_error(predicted.logits, predicted.labels),
        "lower",
        "prediction",
        "predictor calibration error (ECE)",
        meaning="how far the predictor's confidence is from how often it is right, on average",
        shown="page",
    ),
    "interpreter_ece": Metric(
        of_interpreter(
            lambda logits, predicted: expected_calibration_error(logits, predicted.labels)
        ),
        "lower",
        "prediction",
        "interpreter calibration error (ECE)",
        meaning="how far the interpreter's confidence is from how often it is right, on average",
        shown="page",
    ),
    "trust": Metric(
        lambda predicted: predicted.trust,
        "higher",
        "prediction",
        "trust",
        meaning="how far the contributions hold on the image itself: do both branches answer "
        "alike, does the answer stay with the patches ranked first and go without them; 0 where "
        "the branches disagree",
        shown="page",
    ),
    # Of explanations: is what they rank first what decides?
    "deletion": Metric(
        of_curves(deletion),
        "lower",
        "faithfulness",
        "deletion",
        meaning="mean probability of the class while the patches ranked first are removed first",
        shown="first",
    ),
    "insertion": Metric(
        of_curves(insertion),
        "higher",
        "faithfulness",
        "insertion",
        meaning="mean probability of the class while the patches ranked first are shown first",
        shown="first",
    ),
    "difference": Metric(
        of_curves(difference),
        "higher",
        "faithfulness",
        "difference",
        meaning="insertion minus deletion",
        shown="first",
    ),
    "mean_difference": Metric(
        mean_difference,
        "higher",
        "faithfulness",
        "over substrates",
        meaning="insertion minus deletion, averaged over what replaces a removed patch",
    ),
    "symmetric_relevance_gain": Metric(
        of_curves(symmetric_relevance_gain),
        "higher",
        "faithfulness",
        "symmetric relevance gain",
        meaning="probability left by removing the lowest patches first minus the highest first",
        shown="page",
    ),
    "positive_perturbation": Metric(
        of_curves(positive_perturbation),
        "lower",
        "faithfulness",
        "positive perturbation",
        meaning="share of the way along which the class stays predicted as the highest patches go",
        shown="page",
    ),
    "negative_perturbation": Metric(
        of_curves(negative_perturbation),
        "higher",
        "faithfulness",
        "negative perturbation",
        meaning="share of the way along which the class stays predicted as the lowest patches go",
        shown="page",
    ),
    "sufficiency": Metric(
        of_curves(sufficiency),
        "lower",
        "faithfulness",
        "sufficiency",
        meaning="probability lost when only the patches ranked first are kept",
        shown="page",
    ),
    "comprehensiveness": Metric(
        of_curves(comprehensiveness),
        "higher",
        "faithfulness",
        "comprehensiveness",
        meaning="probability lost when the patches ranked first are removed",
        shown="page",
    ),
    "road": Metric(
        lambda explained: road(
            explained.model,
            explained.batch,
            explained.explanation,
            perturbation=explained.perturbation,
        ),
        "higher",
        "faithfulness",
        "ROAD",
        meaning="probability left without the lowest patches minus without the highest, inpainted",
        cost="passes",
    ),
    "infidelity": Metric(
        lambda explained: infidelity(
            explained.model,
            explained.batch,
            explained.explanation,
            perturbation=explained.on_first_substrate,
        ),
        "lower",
        "faithfulness",
        "infidelity",
        meaning="squared error of the map as a forecast of what hiding patches does",
        cost="passes",
    ),
    "max_sensitivity": Metric(
        of_explainer(max_sensitivity),
        "lower",
        "faithfulness",
        "sensitivity",
        meaning="largest change of the map under a small change of the image",
        cost="passes",
    ),
    "randomisation": Metric(
        of_explainer(randomisation),
        "lower",
        "faithfulness",
        "randomisation",
        meaning="likeness of the map to that of the model with random weights",
        cost="passes",
    ),
    "sparsity": Metric(
        of_maps(sparsity),
        "higher",
        "faithfulness",
        "sparsity",
        meaning="how few patches the map points at (Gini index), from 0 to 1",
        shown="page",
    ),
    # Of explanations: do they lie where the evidence is?
    "pointing_game": Metric(
        of_maps(pointing_game, "evidence"),
        "higher",
        "localisation",
        "pointing game",
        meaning="share of images whose highest patch lies on the pixels that decide the label",
        shown="first",
        percent=True,
    ),
    "evidence_mass": Metric(
        of_maps(evidence_mass, "evidence"),
        "higher",
        "localisation",
        "evidence mass",
        meaning="part of the map on those pixels",
        shown="first",
    ),
    "relevance_rank_accuracy": Metric(
        of_maps(relevance_rank_accuracy, "evidence"),
        "higher",
        "localisation",
        "rank accuracy",
        meaning="of as many highest pixels as decide the label, the share that does",
        shown="first",
    ),
    "shortcut_mass": Metric(
        of_maps(shortcut_mass, "shortcut"),
        "lower",
        "localisation",
        "shortcut mass",
        meaning="part of the map on a mark that gives the label away in training",
        shown="first",
    ),
}


def optional_metrics() -> tuple[str, ...]:
    """Names of the measures that cost many passes an image, measured where they are asked for."""
    return tuple(name for name, metric in METRICS.items() if metric.cost == "passes")
