"""Model x explainers x metrics, on the test images: what `evaluation.json` holds."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iavit.data.images import Images
from iavit.data.module import evaluation_loader
from iavit.evaluate.faithfulness import Curves, curves, scores
from iavit.evaluate.localisation import evidence_mass, pointing_game, shortcut_mass
from iavit.evaluate.prediction import accuracy, expected_calibration_error
from iavit.evaluate.simulation import agreement, divergence
from iavit.evaluate.statistics import interval, paired_difference
from iavit.explain import Explainer
from iavit.model.iavit import IAViT
from iavit.types import Batch, Score

BATCH = 250  # images explained at once

Values = dict[str, Tensor]  # metric to (n,) values of all images
Progress = Callable[[str, int], None]  # what is being done, images done since the last call


@dataclass
class _Measured:
    """What one explainer showed, batch after batch."""

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    deletion: list[Tensor] = field(default_factory=list)
    insertion: list[Tensor] = field(default_factory=list)
    fractions: Tensor = field(default_factory=lambda: torch.empty(0))
    seconds: float = 0.0

    def add(self, score: Score) -> None:
        self.values.setdefault(score.metric, []).append(score.values.cpu())

    def add_curves(self, of: Curves) -> None:
        self.fractions = of.fractions.cpu()
        self.deletion.append(of.deletion.cpu())
        self.insertion.append(of.insertion.cpu())

    def joined(self) -> Values:
        return {metric: torch.cat(parts) for metric, parts in self.values.items()}


def audit(
    model: IAViT,
    images: Images,
    explainers: Mapping[str, Explainer],
    *,
    dataset: str,
    seed: int,
    progress: Progress = lambda doing, done: None,
) -> dict[str, Any]:
    """Everything that is measured of a model, as `evaluation.json` has it.

    images: the test images, all of which are used.
    explainers: name to function; the class explained is the one that the predictor chooses.
    seed: of the run, reported, and of whatever an explainer draws.
    progress: is told what is being done and how many images it is further.

    Returns figures `{"mean", "low", "high"}` over images, `comparisons` of the first explainer
    against each other one, and the provenance.
    """
    started = time.perf_counter()
    model.eval()
    prediction = _prediction(model, images, progress)
    measured = {
        name: _measure(model, images, name, explain, seed, progress)
        for name, explain in explainers.items()
    }
    values = {name: of.joined() for name, of in measured.items()}
    return {
        "dataset": dataset,
        "split": "test",
        "images": len(images),
        "provenance": _provenance(model, seed, time.perf_counter() - started),
        "prediction": prediction,
        "faithfulness": {name: _faithfulness(of, values[name]) for name, of in measured.items()},
        "localisation": {
            name: {
                metric: interval(of[metric])
                for metric in ("pointing_game", "evidence_mass", "shortcut_mass")
                if metric in of
            }
            for name, of in values.items()
        },
        "comparisons": _comparisons(values),
    }


@torch.inference_mode()
def _prediction(model: IAViT, images: Images, progress: Progress) -> dict[str, Any]:
    """Both branches' accuracy and calibration, and how far they agree."""
    predictor, interpreter, labels = [], [], []
    for batch in _batches(model, images):
        output = model(batch.images, aligned=False)
        predictor.append(output.logits.cpu())
        interpreter.append(output.interpreter_logits.cpu())
        labels.append(batch.labels.cpu())
        progress("predictions", len(batch))
    f, g, truth = torch.cat(predictor), torch.cat(interpreter), torch.cat(labels)
    named = (
        accuracy(f, truth, "predictor_accuracy"),
        accuracy(g, truth, "interpreter_accuracy"),
        agreement(f, g),
        divergence(f, g),
    )
    figures: dict[str, Any] = {score.metric: interval(score.values) for score in named}
    figures["predictor_ece"] = expected_calibration_error(f, truth)
    figures["interpreter_ece"] = expected_calibration_error(g, truth)
    return figures


def _measure(
    model: IAViT, images: Images, name: str, explain: Explainer, seed: int, progress: Progress
) -> _Measured:
    """One explainer on all images; what it draws does not depend on the others."""
    measured = _Measured()
    torch.manual_seed(seed)
    for batch in _batches(model, images):
        with torch.no_grad():
            targets = model.predict(batch.images).argmax(dim=-1)
        started = time.perf_counter()
        with torch.no_grad():
            explanation = explain(model, batch.images, targets)
        measured.seconds += time.perf_counter() - started
        of = curves(model, batch, explanation)
        measured.add_curves(of)
        for score in scores(of).values():
            measured.add(score)
        if batch.evidence is not None:
            measured.add(pointing_game(model, batch, explanation))
            measured.add(evidence_mass(model, batch, explanation))
        if batch.shortcut is not None:
            measured.add(shortcut_mass(model, batch, explanation))
        progress(name, len(batch))
    return measured


def _batches(model: IAViT, images: Images) -> Iterator[Batch]:
    device = next(model.parameters()).device
    return (batch.to(device) for batch in evaluation_loader(images, BATCH))


def _faithfulness(measured: _Measured, values: Values) -> dict[str, Any]:
    of: dict[str, Any] = {
        metric: interval(values[metric]) for metric in ("deletion", "insertion", "difference")
    }
    of["seconds_per_image"] = measured.seconds / len(values["difference"])
    of["curves"] = {
        "fractions": _rounded(measured.fractions),
        "deletion": _rounded(torch.cat(measured.deletion).mean(dim=0)),
        "insertion": _rounded(torch.cat(measured.insertion).mean(dim=0)),
    }
    return of


def _rounded(values: Tensor) -> list[float]:
    return [round(float(value), 6) for value in values]


def _comparisons(values: Mapping[str, Values]) -> list[dict[str, Any]]:
    """The first explainer against each other one, image by image, in each metric."""
    first, *others = values
    return [
        {
            "metric": metric,
            "a": first,
            "b": other,
            **paired_difference(values[first][metric], values[other][metric]),
        }
        for metric in values[first]
        for other in others
    ]


def _provenance(model: IAViT, seed: int, seconds: float) -> dict[str, Any]:
    return {
        "version": version("iavit"),
        "commit": _commit(),
        "seed": seed,
        "torch": torch.__version__,
        "device": str(next(model.parameters()).device),
        "seconds": round(seconds, 2),
    }


def _commit() -> str | None:
    """The commit of the checkout that this package runs from, `-dirty` if it was changed since.

    None outside of a checkout.
    """
    here = Path(__file__).parent
    try:
        told = subprocess.run(
            [
                "git",
                "-C",
                str(here),
                "describe",
                "--always",
                "--dirty",
                "--abbrev=40",
                "--exclude=*",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None
