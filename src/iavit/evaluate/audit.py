"""Model x explainers x metrics, on the test images: what `evaluation.json` holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import Tensor, nn

from iavit.data.images import Images
from iavit.errors import UserError
from iavit.evaluate.fairness import Names, audit_fairness
from iavit.evaluate.measuring import (
    EXTRA_METRICS,
    Measured,
    Settings,
    Values,
    batches,
    joined,
    measure,
)
from iavit.evaluate.prediction import accuracy, expected_calibration_error
from iavit.evaluate.simulation import agreement, divergence
from iavit.evaluate.statistics import Figure, compare, interval, intervals, rank_correlation
from iavit.evaluate.trust import trust
from iavit.explain import Explainer
from iavit.masking.engine import Perturbation
from iavit.model.explainable import extractor_of
from iavit.model.iavit import IAViT
from iavit.provenance import commit

TRIED = 4  # images on which an explainer's cost is estimated
OWN = ("interpreter", "contributions")  # explanations that the model gives of itself
FAITHFULNESS = (
    "deletion",
    "insertion",
    "difference",
    "mean_difference",
    "symmetric_relevance_gain",
    "positive_perturbation",
    "negative_perturbation",
    "sufficiency",
    "comprehensiveness",
    *EXTRA_METRICS,
    "sparsity",
)
LOCALISATION = ("pointing_game", "evidence_mass", "relevance_rank_accuracy", "shortcut_mass")

ENDS: tuple[Literal["mean", "low", "high"], ...] = ("mean", "low", "high")

Progress = Callable[[str, float], None]  # what is being done, the part of the whole done since


def audit(
    model: nn.Module,
    images: Images,
    explainers: Mapping[str, Explainer],
    *,
    dataset: str,
    seed: int,
    settings: Settings | None = None,
    leave_out: bool = False,
    progress: Progress = lambda doing, part: None,
    names: Names | None = None,
) -> dict[str, Any]:
    """Everything that is measured of a model, as `evaluation.json` has it.

    model: an `IAViT`, or a plain timm vision transformer, of which the predictor is measured.
    images: the test images, all of which are used.
    explainers: name to function; with none, predictions alone are measured.
    seed: of the run, reported, and of whatever an explainer draws.
    leave_out: whether an explainer that refuses this model is left out, and its reason told,
        instead of ending the audit.
    progress: is told what is being done and how much of the time that all takes is over, as
        estimated by a trial on a few images.
    names: of the groups that images may be of, and of the classes.

    Returns figures `{"mean", "low", "high"}` over images, `comparisons` of the first explainer
    against each other one, and the provenance.
    """
    started = time.perf_counter()
    settings = settings or Settings()
    model.eval()
    prediction = _prediction(model, images)
    seconds, refused = _tried(model, images.first(TRIED), explainers, settings, seed, leave_out)
    progress("predictions", 0.0)
    measured = {}
    for name, cost in seconds.items():
        share = cost / sum(seconds.values()) / len(images)

        def done(count: int, name: str = name, share: float = share) -> None:
            progress(name, count * share)

        done(0)
        measured[name] = measure(model, images, explainers[name], settings, seed, done)
    values = {name: joined(of.values) for name, of in measured.items()}
    if isinstance(model, IAViT):
        prediction["trust"] = _trust(model, images, values, settings)
    evaluation: dict[str, Any] = {
        "dataset": dataset,
        "split": "test",
        "images": len(images),
        "images_left_out": len(images.left_out),
        "explained_class": settings.target,
        "score": settings.score,
        "provenance": _provenance(model, seed, time.perf_counter() - started),
        "prediction": prediction,
        "faithfulness": {name: _faithfulness(of, values[name]) for name, of in measured.items()},
        "localisation": {name: _figures(of, LOCALISATION) for name, of in values.items()},
        "comparisons": _comparisons(values),
    }
    if refused:
        evaluation["explainers_left_out"] = refused
    if settings.protocols:
        evaluation["protocols"] = {
            protocol: {
                name: _figures(joined(of.protocols[protocol])) for name, of in measured.items()
            }
            for protocol in settings.protocols
        }
    fairness = audit_fairness(model, images, values, names)
    return evaluation if fairness is None else {**evaluation, "fairness": fairness}


@torch.inference_mode()
def _prediction(model: nn.Module, images: Images) -> dict[str, Any]:
    """Both branches' accuracy and calibration, and how far they agree."""
    predictor, interpreter, labels = [], [], []
    for batch in batches(model, images):
        if isinstance(model, IAViT):
            output = model(batch.images, aligned=False)
            predictor.append(output.logits.cpu())
            interpreter.append(output.interpreter_logits.cpu())
        else:
            predictor.append(extractor_of(model).logits(batch.images).cpu())
        labels.append(batch.labels.cpu())
    f, truth = torch.cat(predictor), torch.cat(labels)
    named = [accuracy(f, truth, "predictor_accuracy")]
    calibration = {"predictor_ece": expected_calibration_error(f, truth)}
    if interpreter:
        g = torch.cat(interpreter)
        named += [accuracy(g, truth, "interpreter_accuracy"), agreement(f, g), divergence(f, g)]
        calibration["interpreter_ece"] = expected_calibration_error(g, truth)
    return {score.metric: interval(score.values) for score in named} | calibration


def _trust(
    model: IAViT, images: Images, values: Mapping[str, Values], settings: Settings
) -> dict[str, Any]:
    """The figure, and how it goes with each image's own insertion minus deletion."""
    how = Perturbation(copies=settings.copies)
    found = torch.cat(
        [trust(model, batch.images, how=how).trust.cpu() for batch in batches(model, images)]
    )
    correlation = {
        name: rank_correlation(found, values[name]["difference"]) for name in OWN if name in values
    }
    return {**interval(found), "correlation": correlation}


def _tried(
    model: nn.Module,
    few: Images,
    explainers: Mapping[str, Explainer],
    settings: Settings,
    seed: int,
    leave_out: bool,
) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds that each explainer and its measures take on a few images, and who refused, why."""
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name, explain in explainers.items():
        started = time.perf_counter()
        try:
            measure(model, few, explain, settings, seed)
        except UserError as error:
            if not leave_out or len(refused) + 1 == len(explainers):
                raise
            refused[name] = str(error)
        else:
            seconds[name] = time.perf_counter() - started
    return seconds, refused


def _faithfulness(measured: Measured, values: Values) -> dict[str, Any]:
    of: dict[str, Any] = _figures(values, FAITHFULNESS)
    of["seconds_per_image"] = measured.seconds / len(values["difference"])
    if len(measured.substrates) > 1:
        of["substrates"] = {
            name: _figures(joined(found)) for name, found in measured.substrates.items()
        }
    of["curves"] = {
        "fractions": [round(float(at), 6) for at in measured.fractions],
        **_bands("deletion", torch.cat(measured.deletion)),
        **_bands("insertion", torch.cat(measured.insertion)),
    }
    return of


def _bands(name: str, curves: Tensor) -> dict[str, list[float]]:
    """The mean of (n, P) curves and the interval of each point."""
    points = intervals(curves)
    means, lows, highs = (
        [round(value, 6) for point in points if (value := point[end]) is not None] for end in ENDS
    )
    return {name: means, f"{name}_low": lows, f"{name}_high": highs}


def _figures(values: Values, metrics: tuple[str, ...] | None = None) -> dict[str, Figure]:
    """A figure for each metric that there is."""
    names = [metric for metric in metrics or values if metric in values]
    if not names:
        return {}
    columns = torch.stack([values[metric] for metric in names], dim=1)
    return dict(zip(names, intervals(columns), strict=True))


def _comparisons(values: Mapping[str, Values]) -> list[dict[str, Any]]:
    """The first explainer against each other one, image by image, in each metric."""
    if len(values) < 2:
        return []
    first, *others = values
    return [
        {"metric": metric, "a": first, "b": other, **comparison}
        for metric, of_first in values[first].items()
        for other, comparison in zip(
            others,
            compare(of_first, torch.stack([values[other][metric] for other in others], dim=1)),
            strict=True,
        )
    ]


def _provenance(model: nn.Module, seed: int, seconds: float) -> dict[str, Any]:
    return {
        "version": version("iavit"),
        "commit": commit(),
        "seed": seed,
        "torch": torch.__version__,
        "device": str(next(model.parameters()).device),
        "seconds": round(seconds, 2),
    }
