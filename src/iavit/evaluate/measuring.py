"""One explainer on all images, batch after batch: everything that is measured of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from iavit.data.images import Images
from iavit.data.loaders import evaluation_loader
from iavit.errors import UserError
from iavit.evaluate.faithfulness import POINTS, Curves, curves, road, scores
from iavit.evaluate.localisation import (
    evidence_mass,
    pointing_game,
    relevance_rank_accuracy,
    shortcut_mass,
)
from iavit.evaluate.protocols import PROTOCOLS, TargetClass, protocol_scores
from iavit.evaluate.robustness import infidelity, max_sensitivity
from iavit.evaluate.sanity import randomisation
from iavit.evaluate.sparsity import sparsity
from iavit.explain import Explainer
from iavit.masking.engine import Perturbation
from iavit.masking.substrates import SUBSTRATES, Substrate, black
from iavit.model.explainable import extractor_of
from iavit.types import Batch, Explanation, Score

# Numbers of one attention map over all images explained at once: 250 of 32 pixels in patches of
# 4, 27 of 224 in patches of 16. Explainers that keep the maps of all layers set the bound.
MAP_ELEMENTS = 2**20
# What costs many passes for each image and explainer, and is measured where it is asked for.
EXTRA_METRICS = ("road", "infidelity", "max_sensitivity", "randomisation")

Values = dict[str, Tensor]  # metric to (n,) values of all images


@dataclass(frozen=True)
class Settings:
    """What is measured, and how.

    metrics: of `EXTRA_METRICS`; the others are always there.
    target: the class explained. score: what is read of it.
    substrates: names in `SUBSTRATES`; every measure but `substrates` is told of the first.
    points: of each curve.
    copies: the most masked copies, and images explained, that are held at a time; by default as
        many as are fast.
    protocols: names in `PROTOCOLS`.
    """

    metrics: tuple[str, ...] = ()
    target: TargetClass = "predicted"
    score: Literal["probability", "logit"] = "probability"
    substrates: tuple[str, ...] = ("zeros",)
    points: int = POINTS
    copies: int | None = None
    protocols: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.points < 2:
            raise UserError(f"--points is {self.points}; a curve has at least 2, its ends")
        if self.copies is not None and self.copies < 1:
            raise UserError(f"--copies is {self.copies}; it must be at least 1")
        if not self.substrates:
            raise UserError(f"--substrates: name one or more of {', '.join(SUBSTRATES)}")


@dataclass
class Measured:
    """What one explainer showed.

    values: metric to values of each batch; so are those of substrates and of protocols, by name.
    deletion, insertion: curves (B, P) of each batch on the first substrate.
    seconds: spent explaining.
    """

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    substrates: dict[str, dict[str, list[Tensor]]] = field(default_factory=dict)
    protocols: dict[str, dict[str, list[Tensor]]] = field(default_factory=dict)
    deletion: list[Tensor] = field(default_factory=list)
    insertion: list[Tensor] = field(default_factory=list)
    fractions: Tensor = field(default_factory=lambda: torch.empty(0))
    seconds: float = 0.0

    def add(self, *found: Score) -> None:
        _append(self.values, found)

    def add_curves(self, of: Curves) -> None:
        self.fractions = of.fractions.cpu()
        self.deletion.append(of.deletion.cpu())
        self.insertion.append(of.insertion.cpu())


def joined(parts: Mapping[str, list[Tensor]]) -> Values:
    """The batches of each metric one after another."""
    return {metric: torch.cat(of) for metric, of in parts.items()}


def measure(
    model: nn.Module,
    images: Images,
    explain: Explainer,
    settings: Settings,
    seed: int,
    done: Callable[[int], None] = lambda count: None,
) -> Measured:
    """One explainer on all images; what it draws does not depend on the others.

    The first batch's first image is explained once before, untimed: what is set up at the first
    call is not the explainer's cost.

    done: is told of images that are finished.
    """
    measured = Measured()
    known = SUBSTRATES | {"black": partial(black, normalisation=images.normalisation)}
    for number, batch in enumerate(batches(model, images, settings.copies)):
        with torch.no_grad():
            predicted = extractor_of(model).logits(batch.images).argmax(dim=-1)
            if number == 0:
                explain(model, batch.images[:1], predicted[:1])
                torch.manual_seed(seed)
            classes: dict[TargetClass, Tensor] = {"predicted": predicted, "true": batch.labels}
            started = _now(batch.images.device)
            explanation = explain(model, batch.images, classes[settings.target])
            measured.seconds += _now(batch.images.device) - started
            _faithfulness(model, batch, explanation, settings, known, measured)
            _beside(model, batch, explanation, explain, settings, measured)
            _protocols(model, batch, explanation, explain, settings, classes, known, measured)
        done(len(batch))
    return measured


def batches(model: nn.Module, images: Images, most: int | None = None) -> Iterator[Batch]:
    """All images, as many at a time as can be explained together, on the model's device."""
    extractor = extractor_of(model)
    device = next(model.parameters()).device
    tokens = extractor.prefix + extractor.grid[0] * extractor.grid[1]
    size = max(1, MAP_ELEMENTS // tokens**2)
    loader = evaluation_loader(images, size if most is None else min(size, most))
    return (batch.to(device) for batch in loader)


def _faithfulness(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    settings: Settings,
    known: Mapping[str, Substrate],
    measured: Measured,
) -> None:
    """Curves on every substrate, and what is read off them."""
    how = Perturbation(score=settings.score, copies=settings.copies)
    differences = []
    for number, name in enumerate(settings.substrates):
        on = replace(how, substrate=known[name])
        of = curves(model, batch, explanation, points=settings.points, how=on)
        found = scores(of)
        if number == 0:
            measured.add_curves(of)
            measured.add(*found.values())
        of_substrate = [found[metric] for metric in ("deletion", "insertion", "difference")]
        _append(measured.substrates.setdefault(name, {}), of_substrate)
        differences.append(found["difference"].values)
    if len(differences) > 1:  # else it is the difference itself
        mean = torch.stack(differences).mean(dim=0)
        measured.add(Score(mean, "mean_difference", "higher"))
    if "road" in settings.metrics:
        measured.add(road(model, batch, explanation, how=how))
    if "infidelity" in settings.metrics:
        on = replace(how, substrate=known[settings.substrates[0]])
        measured.add(infidelity(model, batch, explanation, how=on))


def _beside(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    explain: Explainer,
    settings: Settings,
    measured: Measured,
) -> None:
    """What is not read off masked copies."""
    measured.add(sparsity(model, batch, explanation))
    if "max_sensitivity" in settings.metrics:
        measured.add(max_sensitivity(model, batch, explanation, explain=explain))
    if "randomisation" in settings.metrics:
        measured.add(randomisation(model, batch, explanation, explain=explain))
    if batch.evidence is not None:
        for metric in (pointing_game, evidence_mass, relevance_rank_accuracy):
            measured.add(metric(model, batch, explanation))
    if batch.shortcut is not None:
        measured.add(shortcut_mass(model, batch, explanation))


def _protocols(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    explain: Explainer,
    settings: Settings,
    classes: Mapping[TargetClass, Tensor],
    known: Mapping[str, Substrate],
    measured: Measured,
) -> None:
    how = Perturbation(copies=settings.copies)
    for name in settings.protocols:
        protocol = PROTOCOLS[name]
        of = explanation
        if protocol.explained != settings.target:
            of = explain(model, batch.images, classes[protocol.explained])
        asked = classes[protocol.asked]
        found = protocol_scores(model, batch, of, protocol, asked, substrates=known, how=how)
        _append(measured.protocols.setdefault(name, {}), found.values())


def _append(to: dict[str, list[Tensor]], found: Iterable[Score]) -> None:
    for score in found:
        to.setdefault(score.metric, []).append(score.values.cpu())


def _now(device: torch.device) -> float:
    """Seconds, when all that was asked of the device is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()
