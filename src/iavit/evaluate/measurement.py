"""One explainer on a batch: every measure of it; and the batches of an audit joined again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.evaluate.faithfulness import POINTS, deletion, difference, insertion
from iavit.evaluate.metrics import METRICS, optional_metrics
from iavit.evaluate.protocols import PROTOCOLS, TargetClass, protocol_values
from iavit.evaluate.subjects import Explained
from iavit.evaluate.trust import trust
from iavit.explain import Explainer
from iavit.masking.engine import Perturbation
from iavit.masking.substrates import SUBSTRATES, Substrate, black
from iavit.model.explainable import predictor_of
from iavit.model.iavit import IAViT
from iavit.types import Batch

MOST_COPIES = 1_000_000  # more is a slip of the finger
# What is measured on each of several substrates.
ON_EACH_SUBSTRATE = {"deletion": deletion, "insertion": insertion, "difference": difference}

Values = dict[str, Tensor]  # metric to (n,) values
Part = dict[str, Tensor]  # all that was measured of some images, image after image, by name


MOST_POINTS = 10_000  # of a curve: more than any image has patches


@dataclass(frozen=True)
class Settings:
    """What is measured, and by which rules.

    metrics: of `optional_metrics()`; the others are always measured.
    target: the class explained. score: what is read of it.
    substrates: names in `SUBSTRATES`; every measure but `substrates` is on the first.
    points: of each curve.
    copies: the most masked copies, and images explained, that are held at a time; by default as
        many as are fast.
    protocol: names in `PROTOCOLS`.
    """

    metrics: tuple[str, ...] = ()
    target: TargetClass = "predicted"
    score: Literal["probability", "logit"] = "probability"
    substrates: tuple[str, ...] = ("zeros",)
    points: int = POINTS
    copies: int | None = None
    protocol: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.points < 2:
            raise UserError(f"`points` is {self.points}; a curve has at least 2, its ends")
        if self.points > MOST_POINTS:
            raise UserError(f"`points` is {self.points}; a curve has at most {MOST_POINTS:,}")
        if self.copies is not None and not 1 <= self.copies <= MOST_COPIES:
            raise UserError(f"`copies` is {self.copies}; it must be from 1 to {MOST_COPIES}")
        if not self.substrates:
            raise UserError(f"`substrates`: name one or more of {', '.join(SUBSTRATES)}")
        for option, names, known in (
            ("metrics", self.metrics, optional_metrics()),
            ("substrates", self.substrates, tuple(SUBSTRATES)),
            ("protocol", self.protocol, tuple(PROTOCOLS)),
        ):
            unknown = [name for name in names if name not in known]
            if unknown:
                raise UserError(f"`{option}`: there is no '{unknown[0]}' in {', '.join(known)}")


@dataclass(frozen=True)
class Measurement:
    """What one explainer showed on n images.

    values: metric to (n,) values; so are those of substrates and of protocols, by their names.
    deletion, insertion: curves (n, P) on the first substrate.
    seconds: spent explaining.
    """

    values: Values
    substrates: dict[str, Values]
    protocols: dict[str, Values]
    deletion: Tensor
    insertion: Tensor
    seconds: float


@torch.no_grad()
def measure(
    model: nn.Module,
    batch: Batch,
    explain: Explainer,
    settings: Settings,
    normalisation: Normalisation,
) -> Part:
    """Every measure of an explainer that is free or was asked for, on one batch.

    normalisation: of the images, which says what black is.
    """
    known = SUBSTRATES | {"black": partial(black, normalisation=normalisation)}
    predicted = predictor_of(model).logits(batch.images).argmax(dim=1)
    classes: dict[TargetClass, Tensor] = {"predicted": predicted, "true": batch.labels}
    started = _now(batch.images.device)
    explanation = explain(model, batch.images, classes[settings.target])
    seconds = _now(batch.images.device) - started
    explained = Explained(
        model,
        batch,
        explanation,
        explain,
        {name: known[name] for name in settings.substrates},
        settings.points,
        Perturbation(score=settings.score, copies=settings.copies),
    )
    found = {
        **_curves(explained),
        **_values(explained, settings),
        **_protocols(explained, settings, classes, known),
    }
    found["seconds"] = torch.full((len(batch),), seconds / len(batch), dtype=torch.float64)
    return {name: values.cpu() for name, values in found.items()}


@torch.inference_mode()
def answers(model: nn.Module, batch: Batch, copies: int | None) -> Part:
    """What a model answers on a batch, and how far its explanations can be trusted.

    copies: the most masked copies that are held at a time.
    """
    part = {"labels": batch.labels}
    if batch.groups is not None:
        part["groups"] = batch.groups
    if isinstance(model, IAViT):
        output = model(batch.images, attention="none")
        perturbation = Perturbation(copies=copies)
        part["logits"] = output.logits
        part["interpreter_logits"] = output.interpreter_logits
        part["trust"] = trust(model, batch.images, perturbation=perturbation).trust
    else:
        part["logits"] = predictor_of(model).logits(batch.images)
    return {name: values.cpu() for name, values in part.items()}


def seed_of(seed: int, start: int) -> int:
    """Of what is drawn for the batch that starts there: apart from all other batches and seeds."""
    return int(np.random.SeedSequence((seed, start)).generate_state(1)[0])


def joined(parts: Sequence[Part]) -> Part:
    """Parts of an audit one after another."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def measurement_of(part: Part) -> Measurement:
    """What was measured, by what it was measured with."""
    return Measurement(
        values=_below(part, "values"),
        substrates=_grouped(_below(part, "substrates")),
        protocols=_grouped(_below(part, "protocols")),
        deletion=part["curves/deletion"],
        insertion=part["curves/insertion"],
        seconds=float(part["seconds"].sum()),
    )


def _below(part: Part, section: str) -> Part:
    """What stands under a section's name, without it."""
    start = f"{section}/"
    return {name[len(start) :]: values for name, values in part.items() if name.startswith(start)}


def _grouped(part: Part) -> dict[str, Values]:
    groups: dict[str, Values] = {}
    for name, values in part.items():
        group, metric = name.split("/", 1)
        groups.setdefault(group, {})[metric] = values
    return groups


def _curves(explained: Explained) -> Part:
    first = explained.first_curves
    found = {"curves/deletion": first.deletion, "curves/insertion": first.insertion}
    for name, curves in explained.curves.items():
        for metric, on_curves in ON_EACH_SUBSTRATE.items():
            found[f"substrates/{name}/{metric}"] = on_curves(curves)
    return found


def _values(explained: Explained, settings: Settings) -> Part:
    found: Part = {}
    for name, metric in METRICS.items():
        if metric.section == "prediction":
            continue
        if metric.cost == "passes" and name not in settings.metrics:
            continue
        values = metric.compute(explained)
        if values is None:
            continue
        if not isinstance(values, Tensor) or values.shape != (len(explained.batch),):
            raise ValueError(f"the measure {name} must give one value an image, in a tensor")
        found[f"values/{name}"] = values
    return found


def _protocols(
    explained: Explained,
    settings: Settings,
    classes: Mapping[TargetClass, Tensor],
    known: Mapping[str, Substrate],
) -> Part:
    model, batch, explain = explained.model, explained.batch, explained.explain
    assert explain is not None
    found: Part = {}
    for name in settings.protocol:
        protocol = PROTOCOLS[name]
        explanation = explained.explanation
        if protocol.explained != settings.target:
            explanation = explain(model, batch.images, classes[protocol.explained])
        measured = protocol_values(
            model,
            batch,
            explanation,
            protocol,
            classes[protocol.asked],
            substrates=known,
            perturbation=Perturbation(copies=settings.copies),
        )
        found |= {f"protocols/{name}/{measure}": values for measure, values in measured.items()}
    return found


def _now(device: torch.device) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
