"""One explainer on all images, batch after batch: every measure of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from iavit.data.images import Images
from iavit.data.loaders import evaluation_loader
from iavit.errors import UserError
from iavit.evaluate.faithfulness import POINTS, deletion, difference, insertion
from iavit.evaluate.metrics import METRICS, optional_metrics
from iavit.evaluate.protocols import PROTOCOLS, TargetClass, protocol_values
from iavit.evaluate.subjects import Explained
from iavit.explain import Explainer
from iavit.masking.engine import Perturbation
from iavit.masking.substrates import SUBSTRATES, Substrate, black
from iavit.model.explainable import extractor_of
from iavit.types import Batch

# Numbers of one attention map over all images explained at once: 250 of 32 pixels in patches of
# 4, 27 of 224 in patches of 16. Explainers that keep the maps of all layers set the bound.
MAP_ELEMENTS = 2**20
MOST_COPIES = 1_000_000  # more is a slip of the finger
# What is measured on each of several substrates.
ON_EACH_SUBSTRATE = {"deletion": deletion, "insertion": insertion, "difference": difference}

Values = dict[str, Tensor]  # metric to (n,) values of all images


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
        if not 2 <= self.points <= MOST_POINTS:
            raise UserError(f"`points` is {self.points}; a curve has from 2 to {MOST_POINTS:,}")
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


@dataclass
class Measurement:
    """What one explainer showed.

    values: metric to values (B,) of each batch; so are those of substrates and of protocols, by
        their names.
    deletion, insertion: curves (B, P) of each batch on the first substrate, at fractions (P,).
    seconds: spent explaining.
    """

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    substrates: dict[str, dict[str, list[Tensor]]] = field(default_factory=dict)
    protocols: dict[str, dict[str, list[Tensor]]] = field(default_factory=dict)
    deletion: list[Tensor] = field(default_factory=list)
    insertion: list[Tensor] = field(default_factory=list)
    fractions: Tensor = field(default_factory=lambda: torch.empty(0))
    seconds: float = 0.0


def joined(parts: Mapping[str, list[Tensor]]) -> Values:
    """The batches of each metric one after another."""
    return {metric: torch.cat(batches) for metric, batches in parts.items()}


def measure(
    model: nn.Module,
    images: Images,
    explain: Explainer,
    settings: Settings,
    seed: int,
    done: Callable[[int], None] = lambda count: None,
) -> Measurement:
    """One explainer on all images; what it draws does not depend on the others.

    The first batch's first image is explained once before, untimed: what is set up at the first
    call is not the explainer's cost.

    done: called with the number of images that have been finished.
    """
    measurement = Measurement()
    known = SUBSTRATES | {"black": partial(black, normalisation=images.normalisation)}
    substrates = {name: known[name] for name in settings.substrates}
    for number, batch in enumerate(batches(model, images, settings.copies)):
        with torch.no_grad():
            predicted = extractor_of(model).logits(batch.images).argmax(dim=-1)
            if number == 0:
                explain(model, batch.images[:1], predicted[:1])
                torch.manual_seed(seed)
            classes: dict[TargetClass, Tensor] = {"predicted": predicted, "true": batch.labels}
            started = _now(batch.images.device)
            explanation = explain(model, batch.images, classes[settings.target])
            measurement.seconds += _now(batch.images.device) - started
            explained = Explained(
                model,
                batch,
                explanation,
                explain,
                substrates,
                settings.points,
                Perturbation(score=settings.score, copies=settings.copies),
            )
            _add_curves(measurement, explained)
            _add_values(measurement, explained, settings)
            _add_protocols(measurement, explained, settings, classes, known)
        done(len(batch))
    return measurement


def batches(model: nn.Module, images: Images, most: int | None = None) -> Iterator[Batch]:
    """All images, as many at a time as can be explained together, on the model's device."""
    extractor = extractor_of(model)
    device = next(model.parameters()).device
    tokens = extractor.prefix + extractor.grid[0] * extractor.grid[1]
    size = max(1, MAP_ELEMENTS // tokens**2)
    loader = evaluation_loader(images, size if most is None else min(size, most))
    return (batch.to(device) for batch in loader)


def _add_curves(measurement: Measurement, explained: Explained) -> None:
    first = explained.first_curves
    measurement.fractions = first.fractions.cpu()
    measurement.deletion.append(first.deletion.cpu())
    measurement.insertion.append(first.insertion.cpu())
    for name, curves in explained.curves.items():
        found = measurement.substrates.setdefault(name, {})
        for metric, on_curves in ON_EACH_SUBSTRATE.items():
            found.setdefault(metric, []).append(on_curves(curves).cpu())


def _add_values(measurement: Measurement, explained: Explained, settings: Settings) -> None:
    """Every measure of an explanation that is free or was asked for."""
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
        measurement.values.setdefault(name, []).append(values.cpu())


def _add_protocols(
    measurement: Measurement,
    explained: Explained,
    settings: Settings,
    classes: Mapping[TargetClass, Tensor],
    known: Mapping[str, Substrate],
) -> None:
    model, batch, explain = explained.model, explained.batch, explained.explain
    assert explain is not None
    for name in settings.protocol:
        protocol = PROTOCOLS[name]
        explanation = explained.explanation
        if protocol.explained != settings.target:
            explanation = explain(model, batch.images, classes[protocol.explained])
        found = protocol_values(
            model,
            batch,
            explanation,
            protocol,
            classes[protocol.asked],
            substrates=known,
            perturbation=Perturbation(copies=settings.copies),
        )
        parts = measurement.protocols.setdefault(name, {})
        for measure_name, values in found.items():
            parts.setdefault(measure_name, []).append(values.cpu())


def _now(device: torch.device) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
