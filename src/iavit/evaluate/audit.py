"""Model x explainers x measures, on the test images: an `Evaluation`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

import torch
from torch import Tensor, nn

from iavit.data.images import Images
from iavit.errors import UserError
from iavit.evaluate.evaluation import (
    Comparison,
    CurveBands,
    Evaluation,
    Faithfulness,
    Figure,
    Figures,
    Provenance,
)
from iavit.evaluate.fairness import Names, audit_fairness
from iavit.evaluate.measurement import (
    Measurement,
    Settings,
    Values,
    batches,
    joined,
    measure,
)
from iavit.evaluate.metrics import METRICS
from iavit.evaluate.prediction import confusion
from iavit.evaluate.statistics import compare, interval, intervals, rank_correlation
from iavit.evaluate.subjects import Predicted
from iavit.evaluate.trust import trust
from iavit.explain import Explainer
from iavit.masking.engine import Perturbation
from iavit.model.explainable import extractor_of, unwrap
from iavit.model.iavit import IAViT
from iavit.provenance import commit

TRIED = 4  # images on which an explainer's cost is estimated
OWN = ("interpreter", "contributions")  # explanations that the model gives of itself

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
) -> Evaluation:
    """Everything that is measured of a model.

    model: an `IAViT`, or a plain timm vision transformer, of which the predictor is measured.
    images: the test images, all of which are used.
    explainers: name to function; with none, predictions alone are measured.
    seed: of the run, reported, and of whatever an explainer draws.
    leave_out: whether an explainer that refuses this model is left out, and its reason kept,
        instead of ending the audit.
    progress: called with what is being done and the part of the whole time, as estimated by a
        trial on a few images, that has passed since it was last called.
    names: of the groups that images may be of, and of the classes.

    Comparisons are of the first explainer against each other one.
    """
    started = time.perf_counter()
    settings = settings or Settings()
    model = unwrap(model)
    model.eval()
    predicted = predict(model, images, settings.copies)
    seconds, refused = _tried(model, images.first(TRIED), explainers, settings, seed, leave_out)
    progress("predictions", 0.0)
    measured = {}
    for name, cost in seconds.items():
        share = cost / sum(seconds.values()) / len(images)

        def done(count: int, name: str = name, share: float = share) -> None:
            progress(name, count * share)

        done(0)
        measured[name] = measure(model, images, explainers[name], settings, seed, done)
    values = {name: joined(measurement.values) for name, measurement in measured.items()}
    return Evaluation(
        dataset=dataset,
        split="test",
        images=len(images),
        images_left_out=len(images.left_out),
        explained_class=settings.target,
        score=settings.score,
        provenance=_provenance(model, seed, time.perf_counter() - started),
        prediction=_prediction(predicted),
        confusion=confusion(predicted.logits, predicted.labels),
        faithfulness={
            name: _faithfulness(measurement, values[name]) for name, measurement in measured.items()
        },
        localisation={name: _section(found, "localisation") for name, found in values.items()},
        comparisons=_comparisons(values),
        trust_correlation=_trust_correlation(predicted, values),
        explainers_left_out=refused,
        protocols={
            protocol: {
                name: _figures(joined(measurement.protocols[protocol]))
                for name, measurement in measured.items()
            }
            for protocol in settings.protocol
        },
        fairness=audit_fairness(model, images, values, names),
    )


@torch.inference_mode()
def predict(model: nn.Module, images: Images, copies: int | None = None) -> Predicted:
    """What a model answers on all images, and how far its explanations can be trusted.

    copies: the most masked copies that are held at a time.
    """
    perturbation = Perturbation(copies=copies)
    labels, logits, interpreter_logits, trusted = [], [], [], []
    for batch in batches(model, images):
        labels.append(batch.labels.cpu())
        if not isinstance(model, IAViT):
            logits.append(extractor_of(model).logits(batch.images).cpu())
            continue
        output = model(batch.images, attention="none")
        logits.append(output.logits.cpu())
        interpreter_logits.append(output.interpreter_logits.cpu())
        trusted.append(trust(model, batch.images, perturbation=perturbation).trust.cpu())
    if not interpreter_logits:
        return Predicted(torch.cat(labels), torch.cat(logits))
    return Predicted(
        torch.cat(labels), torch.cat(logits), torch.cat(interpreter_logits), torch.cat(trusted)
    )


def _prediction(predicted: Predicted) -> dict[str, Figure | float | None]:
    """A figure or number for each measure of predictions that applies."""
    found: dict[str, Figure | float | None] = {}
    for name, metric in METRICS.items():
        if metric.section != "prediction":
            continue
        values = metric.compute(predicted)
        if values is not None:
            found[name] = interval(values) if isinstance(values, Tensor) else values
    return found


def _trust_correlation(predicted: Predicted, values: Mapping[str, Values]) -> Figures:
    """How trust goes with each image's own insertion minus deletion."""
    if predicted.trust is None:
        return {}
    return {
        name: rank_correlation(predicted.trust, values[name]["difference"])
        for name in OWN
        if name in values
    }


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


def _faithfulness(measurement: Measurement, values: Values) -> Faithfulness:
    several = measurement.substrates if len(measurement.substrates) > 1 else {}
    return Faithfulness(
        figures=_section(values, "faithfulness"),
        seconds_per_image=measurement.seconds / len(values["difference"]),
        curves=CurveBands(
            tuple(round(float(at), 6) for at in measurement.fractions),
            *_band(torch.cat(measurement.deletion)),
            *_band(torch.cat(measurement.insertion)),
        ),
        substrates={name: _figures(joined(found)) for name, found in several.items()},
    )


def _band(curves: Tensor) -> tuple[tuple[float, ...], ...]:
    """The mean of (n, P) curves, and the lower and upper end of each point's interval."""
    points = intervals(curves)
    ends = zip(*((point.mean, point.low, point.high) for point in points), strict=True)
    return tuple(tuple(round(value, 6) for value in end if value is not None) for end in ends)


def _section(values: Values, section: str) -> Figures:
    """The figures of one section, in the order of the catalogue."""
    return _figures(values, [name for name in METRICS if METRICS[name].section == section])


def _figures(values: Values, metrics: Sequence[str] | None = None) -> dict[str, Figure]:
    """A figure for each metric that there is."""
    names = [metric for metric in metrics or values if metric in values]
    if not names:
        return {}
    columns = torch.stack([values[metric] for metric in names], dim=1)
    return dict(zip(names, intervals(columns), strict=True))


def _comparisons(values: Mapping[str, Values]) -> tuple[Comparison, ...]:
    """The first explainer against each other one, image by image, in each metric."""
    first = next(iter(values.values()), {})
    return tuple(
        comparison
        for metric in first
        for comparison in compare(metric, {name: found[metric] for name, found in values.items()})
    )


def _provenance(model: nn.Module, seed: int, seconds: float) -> Provenance:
    return Provenance(
        version=version("iavit"),
        commit=commit(),
        seed=seed,
        torch=torch.__version__,
        device=str(next(model.parameters()).device),
        seconds=round(seconds, 2),
    )
