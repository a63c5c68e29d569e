"""Model x explainers x measures, on the test images: an `Evaluation`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from iavit.data.images import Images
from iavit.evaluate import trial
from iavit.evaluate.evaluation import (
    Comparison,
    CurveBands,
    Evaluation,
    Faithfulness,
    Figure,
    Figures,
    Provenance,
)
from iavit.evaluate.fairness import Names, fairness_of
from iavit.evaluate.faithfulness import schedule
from iavit.evaluate.measurement import (
    Measurement,
    Part,
    Settings,
    Values,
    answers,
    measure,
    measurement_of,
    seed_of,
)
from iavit.evaluate.metrics import METRICS
from iavit.evaluate.pieces import (
    MEASURES,
    PREDICTIONS,
    Work,
    audit_name,
    batch_size,
    carry_out,
    kept,
)
from iavit.evaluate.prediction import confusion
from iavit.evaluate.processes import Processes
from iavit.evaluate.statistics import compare, interval, intervals, rank_correlation
from iavit.evaluate.subjects import Predicted
from iavit.evaluate.sufficient import Promise, audit_sufficient
from iavit.explain import Explainer
from iavit.files import write_json
from iavit.masking.engine import Perturbation
from iavit.model.explainable import predictor_of, unwrap
from iavit.provenance import commit
from iavit.types import Batch

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
    drawn_from: int | None = None,
    promise: Promise | None = None,
    folder: Path | None = None,
    processes: Processes | None = None,
) -> Evaluation:
    """Everything that is measured of a model.

    model: an `IAViT`, or a plain timm vision transformer, of which the predictor is measured.
    images: the test images, all of which are used.
    explainers: name to function; with none, predictions alone are measured.
    seed: of the run, reported, and of whatever an explainer draws.
    leave_out: whether an explainer that refuses this model is left out, and its reason kept,
        instead of ending the audit.
    progress: called with what is being done and the part of the whole time, as estimated by a
        trial on a few images, that has passed since it was last called; with `pieces.KEPT` where
        that passed before this audit began.
    names: of the groups that images may be of, and of the classes.
    drawn_from: how many test images there are, where `images` are some of them.
    promise: of the patches that suffice; without, they are not measured.
    folder: where what is done is kept until `pieces.clear`: the same audit goes on with it.
    processes: that share the audit, for which they need a folder; of them the first returns.

    Comparisons are of the first explainer against each other one.
    """
    started = time.perf_counter()
    settings = settings or Settings()
    model = unwrap(model)
    processes = processes or Processes()
    model.eval()
    device = next(model.parameters()).device
    size = batch_size(model, settings.copies)
    few = images[range(min(trial.IMAGES, size, len(images)))]
    promised = None if promise is None else promise.described(images)
    name = audit_name(model, images, few, tuple(explainers), settings, seed, promised)
    with kept(folder, name) as place:
        path = place / "plan.json"

        def planned() -> str:
            if not path.is_file():
                tried = trial.plan(
                    model, images, few, explainers, settings, leave_out=leave_out, promise=promise
                )
                write_json(path, asdict(tried))
            return path.read_text(encoding="utf-8")

        plan = trial.Plan(**json.loads(processes.plan(planned)))
        explainers = {name: explainers[name] for name in explainers if name not in plan.refused}
        carry = partial(
            carry_out,
            folder=place,
            size=size,
            device=device,
            processes=processes,
            seconds=plan.seconds,
            progress=progress,
        )
        parts = carry(MEASURES, _works(model, images, explainers, settings, seed))
        sufficient = None
        if promise is not None and explainers:
            perturbation = Perturbation(copies=settings.copies)
            sufficient = audit_sufficient(
                model, promise, images, explainers, carry, seed=seed, perturbation=perturbation
            )
        processes.finish()
    predicted = Predicted(**parts[PREDICTIONS])
    measurements = {name: measurement_of(parts[name]) for name in explainers}
    values = {name: measurement.values for name, measurement in measurements.items()}
    return Evaluation(
        dataset=dataset,
        split="test",
        images=len(images),
        images_left_out=len(images.left_out),
        drawn_from=None if drawn_from == len(images) else drawn_from,
        explained_class=settings.target,
        score=settings.score,
        provenance=_provenance(model, seed, time.perf_counter() - started),
        prediction=_prediction(predicted),
        confusion=confusion(predicted.logits, predicted.labels),
        faithfulness={
            name: _faithfulness(model, measurement, settings)
            for name, measurement in measurements.items()
        },
        localisation={name: _section(found, "localisation") for name, found in values.items()},
        comparisons=_comparisons(values),
        trust_correlation=_trust_correlation(predicted, values),
        explainers_left_out=plan.refused,
        protocols={
            protocol: {
                name: _figures(measurement.protocols[protocol])
                for name, measurement in measurements.items()
            }
            for protocol in settings.protocol
        },
        fairness=fairness_of(predicted, values, names),
        sufficient=sufficient,
    )


def _works(
    model: nn.Module,
    images: Images,
    explainers: Mapping[str, Explainer],
    settings: Settings,
    seed: int,
) -> dict[str, Work]:
    """The predictions, and every explainer with its measures."""

    def answer(batch: Batch, start: int) -> Part:
        return answers(model, batch, settings.copies)

    def work(name: str, explain: Explainer) -> Work:
        called = False

        def measured(batch: Batch, start: int) -> Part:
            nonlocal called
            if not called:  # what its first call sets up is not an explainer's cost
                called = True
                explain(model, batch.images[:1], batch.labels[:1])
            torch.manual_seed(seed_of(seed, start))
            return measure(model, batch, explain, settings, images.normalisation)

        return Work(name, images, measured)

    return {
        PREDICTIONS: Work(PREDICTIONS, images, answer),
        **{name: work(name, explain) for name, explain in explainers.items()},
    }


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


def _faithfulness(model: nn.Module, measurement: Measurement, settings: Settings) -> Faithfulness:
    several = measurement.substrates if len(measurement.substrates) > 1 else {}
    height, width = predictor_of(model).grid
    counts = schedule(height * width, settings.points)
    return Faithfulness(
        figures=_section(measurement.values, "faithfulness"),
        seconds_per_image=measurement.seconds / len(measurement.deletion),
        curves=CurveBands(
            tuple(round(count / (height * width), 6) for count in counts),
            *_band(measurement.deletion),
            *_band(measurement.insertion),
        ),
        substrates={name: _figures(found) for name, found in several.items()},
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
