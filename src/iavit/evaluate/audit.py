"""Model x explainers x measures, on the test images: an `Evaluation`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
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
from iavit.evaluate.fairness import Names, fairness_of
from iavit.evaluate.faithfulness import schedule
from iavit.evaluate.measurement import (
    Measurement,
    Part,
    Settings,
    Values,
    measure,
    measurement_of,
)
from iavit.evaluate.metrics import METRICS
from iavit.evaluate.pieces import (
    PREDICTIONS,
    audit_name,
    batch_size,
    carry_out,
    collect,
    kept,
    pieces_of,
)
from iavit.evaluate.prediction import confusion
from iavit.evaluate.processes import Processes
from iavit.evaluate.statistics import compare, interval, intervals, rank_correlation
from iavit.evaluate.subjects import Predicted
from iavit.evaluate.trust import trust
from iavit.explain import Explainer
from iavit.files import write_json
from iavit.masking.engine import Perturbation
from iavit.model.explainable import extractor_of, unwrap
from iavit.model.iavit import IAViT
from iavit.provenance import commit
from iavit.types import Batch

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
    drawn_from: int | None = None,
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
        trial on a few images, that has passed since it was last called.
    names: of the groups that images may be of, and of the classes.
    drawn_from: how many test images there are, where `images` are some of them.
    folder: where what is done is kept until `pieces.clear`: the same audit goes on with it.
    processes: that share the audit, for which they need a folder; of them the first returns.

    Comparisons are of the first explainer against each other one.
    """
    started = time.perf_counter()
    settings = settings or Settings()
    model = unwrap(model)
    processes = processes or Processes()
    model.eval()
    size = batch_size(model, settings.copies)
    few = images[range(min(TRIED, size, len(images)))]
    name = audit_name(model, images, few, tuple(explainers), settings, seed)
    with kept(folder, name) as place:
        plan = json.loads(
            processes.plan(
                lambda: _planned(model, images, few, explainers, settings, leave_out, place)
            )
        )
        seconds, refused = plan["seconds"], plan["refused"]
        pieces = [
            piece
            for number, subject in enumerate(seconds)
            for piece in pieces_of(subject, number, len(images), size)
        ]

        called: set[str] = set()

        def measured(subject: str, batch: Batch, start: int) -> Part:
            if subject == PREDICTIONS:
                return _answers(model, batch, settings.copies)
            explain = explainers[subject]
            if subject not in called:  # what its first call sets up is not an explainer's cost
                called.add(subject)
                explain(model, batch.images[:1], batch.labels[:1])
            torch.manual_seed(_seed(seed, start))
            return measure(model, batch, explain, settings, images.normalisation)

        def done(subject: str, count: int) -> None:
            progress(subject, count * seconds[subject] / sum(seconds.values()) / len(images))

        # What takes longest first, so that no process is left alone with it at the end.
        ordered = sorted(pieces, key=lambda piece: -seconds[piece.subject])
        device = next(model.parameters()).device
        carry_out(ordered, images, place, measured, device, processes, done)
        processes.finish()
        parts = collect(pieces, place)
    predicted = Predicted(**parts[PREDICTIONS])
    measurements = {name: measurement_of(parts[name]) for name in explainers if name not in refused}
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
        explainers_left_out=refused,
        protocols={
            protocol: {
                name: _figures(measurement.protocols[protocol])
                for name, measurement in measurements.items()
            }
            for protocol in settings.protocol
        },
        fairness=fairness_of(predicted, values, names),
    )


def _seed(seed: int, start: int) -> int:
    """Of what is drawn for the batch that starts there: apart from all other batches and seeds."""
    return int(np.random.SeedSequence((seed, start)).generate_state(1)[0])


def _planned(
    model: nn.Module,
    images: Images,
    few: Batch,
    explainers: Mapping[str, Explainer],
    settings: Settings,
    leave_out: bool,
    place: Path,
) -> str:
    """As JSON, what a trial on a few images found; of an audit that goes on, what it had found.

    `seconds`: that the predictions, and each explainer with its measures, take on them.
    `refused`: explainers that are left out, and why.
    """
    path = place / "plan.json"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    few = few.to(next(model.parameters()).device)
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    started = time.perf_counter()
    _answers(model, few, settings.copies)
    seconds[PREDICTIONS] = time.perf_counter() - started
    for name, explain in explainers.items():
        started = time.perf_counter()
        try:
            measure(model, few, explain, settings, images.normalisation)
        except UserError as error:
            if not leave_out or len(refused) + 1 == len(explainers):
                raise
            refused[name] = str(error)
        else:
            seconds[name] = time.perf_counter() - started
    write_json(path, {"seconds": seconds, "refused": refused})
    return path.read_text(encoding="utf-8")


@torch.inference_mode()
def _answers(model: nn.Module, batch: Batch, copies: int | None) -> Part:
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
        part["logits"] = extractor_of(model).logits(batch.images)
    return {name: values.cpu() for name, values in part.items()}


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
    height, width = extractor_of(model).grid
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
