"""What an audit will take, and which explainers it leaves out, by a trial on a few images."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from iavit.data.images import Images
from iavit.errors import UserError
from iavit.evaluate.measurement import Settings, answers, measure
from iavit.evaluate.pieces import MEASURES, PREDICTIONS
from iavit.evaluate.sufficient import CALIBRATION, COVERAGE, Promise, kept_answers, patch_counts
from iavit.explain import EXPLAINERS, Explainer
from iavit.masking.engine import Perturbation
from iavit.types import Batch

IMAGES = 4


@dataclass(frozen=True)
class Plan:
    """What a trial found.

    seconds: that all images of each work are expected to take, by stage and subject.
    refused: explainers that are left out, and why.
    """

    seconds: dict[str, dict[str, float]]
    refused: dict[str, str]


def plan(
    model: nn.Module,
    images: Images,
    few: Batch,
    explainers: Mapping[str, Explainer],
    settings: Settings,
    *,
    leave_out: bool,
    promise: Promise | None,
) -> Plan:
    """Try the predictions, and each explainer with its measures, on a few images.

    leave_out: whether an explainer that refuses the model is left out, instead of ending it all.
    """
    few = few.to(next(model.parameters()).device)
    explaining: dict[str, float] = {}  # alone, without the measures
    refused: dict[str, str] = {}
    started = time.perf_counter()
    answers(model, few, settings.copies)
    measuring = {PREDICTIONS: time.perf_counter() - started}
    for name, explain in explainers.items():
        started = time.perf_counter()
        try:
            part = measure(model, few, explain, settings, images.normalisation)
        except UserError as error:
            if not leave_out or len(refused) + 1 == len(explainers):
                raise
            refused[name] = str(error)
        else:
            measuring[name] = time.perf_counter() - started
            explaining[name] = float(part["seconds"].sum())
    seconds = {MEASURES: _scaled(measuring, len(images) / len(few))}
    if promise is not None:
        calibration, tested = promise.images(images)
        counts = patch_counts(model)
        asking = _seconds_of_answers(model, few, counts, settings.copies)
        tried = {name: alone + asking for name, alone in explaining.items()}
        asked = {name: alone + asking / len(counts) for name, alone in explaining.items()}
        seconds[CALIBRATION] = _scaled(tried, len(calibration) / len(few))
        seconds[COVERAGE] = _scaled(asked, len(tested) / len(few))
    return Plan(seconds, refused)


def _seconds_of_answers(
    model: nn.Module, few: Batch, counts: list[int], copies: int | None
) -> float:
    """That the answers on so many patches take, whatever their order."""
    explanation = EXPLAINERS["random"](model, few.images, few.labels)
    started = time.perf_counter()
    kept_answers(model, few, explanation, counts, Perturbation(copies=copies))
    return time.perf_counter() - started


def _scaled(seconds: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: factor * each for name, each in seconds.items()}
