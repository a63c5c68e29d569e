"""A tiny finished run, written by hand: nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from iavit.data.images import InMemory
from iavit.data.transforms import Normalisation
from iavit.evaluate.evaluation import Evaluation
from iavit.evaluate.evaluation_json import from_json
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved, save_model
from iavit.training.directory import Run, load_run

CLASSES = ("<script>alert('x')</script>", "a & b", '"quoted" $x_1^')
SIZE = 12  # pixels a side: 3 x 3 patches
COUNT = 23
METRICS = """step,lr,train/loss,val/loss,train/predictor_accuracy
10,0.1,2.5,,0.25
20,0.1,0.05,1.5,0.5
30,0.1,nan,,
40,0.1,damaged,0.7,0.75
"""


def figure(mean: float | None, half: float = 0.0125) -> dict[str, float | None]:
    """A mean with an interval around it."""
    if mean is None:
        return {"mean": None, "low": None, "high": None}
    return {"mean": mean, "low": mean - half, "high": mean + half}


def explained(deletion: float, insertion: float, seconds: float) -> dict[str, Any]:
    return {
        "deletion": figure(deletion),
        "insertion": figure(insertion),
        "difference": figure(insertion - deletion),
        "seconds_per_image": seconds,
        "curves": {
            "fractions": [0.0, 0.5, 1.0],
            "deletion": [0.9, deletion, 0.1],
            "deletion_low": [0.8, deletion - 0.1, 0.05],
            "deletion_high": [0.95, deletion + 0.1, 0.15],
            "insertion": [0.1, insertion, 0.9],
            "insertion_low": [0.05, insertion - 0.1, 0.8],
            "insertion_high": [0.15, insertion + 0.1, 0.95],
        },
    }


def comparison(b: str, metric: str, low: float, high: float) -> dict[str, Any]:
    return {
        "metric": metric,
        "a": "interpreter",
        "b": b,
        "mean": (low + high) / 2,
        "low": low,
        "high": high,
        "p": 0.004,
        "adjusted_p": 0.0163,
        "inside_noise": low <= 0 <= high,
    }


def evaluation() -> dict[str, Any]:
    """The content of an `evaluation.json` in which every figure is different."""
    return {
        "format": 1,
        "dataset": "<b>digits</b>",
        "split": "test",
        "images": COUNT,
        "provenance": {
            "version": "0.1.0",
            "commit": None,
            "seed": 7,
            "torch": "2.13.0",
            "device": "cpu",
            "seconds": 12.5,
        },
        "prediction": {
            "predictor_accuracy": figure(0.9312),
            "interpreter_accuracy": figure(0.9027),
            "agreement": figure(0.9871),
            "divergence": figure(0.0459),
            "predictor_ece": 0.0331,
        },
        "faithfulness": {
            "interpreter": explained(0.1517, 0.5653, 0.00054),
            "rollout": explained(0.1432, 0.6091, 0.00032),
            "random": explained(0.0339, 0.0333, 0.0),
        },
        "localisation": {
            "interpreter": {"pointing_game": figure(0.9123), "evidence_mass": figure(0.5274)},
            "rollout": {"pointing_game": figure(0.8765), "evidence_mass": figure(None)},
            "random": {"pointing_game": figure(0.1719), "evidence_mass": figure(0.1803)},
        },
        "comparisons": [
            comparison("rollout", "difference", -0.0683, -0.0362),
            comparison("rollout", "deletion", -0.0011, 0.0012),
            comparison("random", "difference", 0.3894, 0.4505),
            comparison("random", "deletion", 0.1021, 0.1322),
        ],
    }


def parsed(values: dict[str, Any]) -> Evaluation:
    """The evaluation of a file's content."""
    return from_json(values, Path("evaluation.json"))


def newer_evaluation() -> dict[str, Any]:
    """The evaluation with substrates and a comparison that its correction decides."""
    values = evaluation()
    means = {"interpreter": 0.41, "rollout": 0.45, "random": 0.02}
    for at, (name, of) in enumerate(values["faithfulness"].items()):
        of["mean_difference"] = figure(means[name])
        of["substrates"] = {
            substrate: {"difference": figure(0.31 + 0.07 * at + 0.2 * row)}
            for row, substrate in enumerate(("mean", "zeros"))
        }
    values["comparisons"][0] |= {"adjusted_p": 0.0517, "inside_noise": True}
    values["comparisons"][2] |= {"adjusted_p": 0.00002}
    return values


def tiny_images(*, size: int = SIZE, count: int = COUNT, evidence: bool = True) -> InMemory:
    """Noise; the evidence of image `i` is a rectangle that depends on `i`."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(count, size, size, dtype=torch.bool)
    for index, mask in enumerate(masks):
        mask[1 : 3 + index % 5, 2:7] = True
    return InMemory(
        torch.randint(256, (count, 3, size, size), generator=generator, dtype=torch.uint8),
        torch.randint(len(CLASSES), (count,), generator=generator),
        Normalisation(),
        masks if evidence else None,
    )


def tiny_model(size: int = SIZE) -> Saved:
    """A model whose predictions differ between images, though it has learnt nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = IAViT.create("vit_digits", len(CLASSES), size)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.4)
    return Saved(model.eval(), CLASSES, Normalisation())


def tiny_run(folder: Path, size: int = SIZE) -> Run:
    """A run directory with all that the page reads."""
    save_model(tiny_model(size), folder / "model")
    (folder / "config.yaml").write_text(f"backbone: vit_digits\nimg_size: {size}\nsteps: 4000\n")
    (folder / "metrics.csv").write_text(METRICS)
    (folder / "evaluation.json").write_text(json.dumps(evaluation()))
    return load_run(folder)
