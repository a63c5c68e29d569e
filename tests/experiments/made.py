"""Runs of a study as if they had been measured."""

from __future__ import annotations

import torch

from iavit.config import Config
from iavit.evaluate.evaluation import CurveBands, Evaluation, Faithfulness, Figure, Provenance
from iavit.experiments.tables import Measured
from iavit.experiments.variants import Planned


def measured(
    variant: str, seed: int, difference: float, right: int, group: list[int] | None = None
) -> Measured:
    """Ten images of two classes, the first `right` of them predicted rightly."""
    labels = torch.arange(10) % 2
    predicted = torch.where(torch.arange(10) < right, labels, 1 - labels)
    predictions = {"image": torch.arange(10), "label": labels, "predictor": predicted}
    if not variant.startswith("plain"):
        predictions["interpreter"] = predicted
    if group is not None:
        predictions["group"] = torch.tensor(group)
    figure = Figure(difference, difference - 0.1, difference + 0.1)
    flat = (0.0, 1.0)
    evaluation = Evaluation(
        dataset="digits",
        split="test",
        images=10,
        images_left_out=0,
        explained_class="predicted",
        score="probability",
        provenance=Provenance("0.1.0", None, seed, "2.13.0", "cpu", 1.0),
        prediction={},
        faithfulness={
            "interpreter": Faithfulness(
                {"difference": figure}, 0.001, CurveBands(flat, flat, flat, flat, flat, flat, flat)
            )
        },
        localisation={},
        comparisons=(),
    )
    run = Planned(f"digits-{variant}-{seed}", variant, seed, Config())
    return Measured(run, predictions, evaluation)
