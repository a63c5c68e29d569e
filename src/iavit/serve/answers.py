"""Pictures of many requests through the model in one pass, each explained as it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from iavit.evaluate.trust import shared, trust
from iavit.explain import EXPLAINERS, SLOW
from iavit.handover.explaining import as_numpy
from iavit.model.explainable import evaluating
from iavit.model.graph import Graph, GraphOutput
from iavit.model.weights import Saved

# Those that a server offers: perturbation takes hundreds of passes, while all others wait.
OFFERED = tuple(name for name in EXPLAINERS if name not in SLOW)


@dataclass(frozen=True)
class Question:
    """One picture, and what is asked about it.

    square: (S, S, 3) uint8, as the model's size is. target: a class, or None for the predicted.
    trust: whether to measure it, for eight more passes. removed: patches that are not shown.
    """

    square: np.ndarray
    target: int | None = None
    explainer: str = "contributions"
    trust: bool = False
    removed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What is said of one picture, in float32.

    probabilities, interpreter_probabilities: (C,). attention: (h, w). contributions: (h, w, C).
    map: (h, w) or (H, W), of the target. shared: how much of their answer both branches share,
    from 0 to 1. faithfulness, trust: from 0 to 1, where they were asked for; no trust where the
    branches disagree.
    """

    probabilities: np.ndarray
    interpreter_probabilities: np.ndarray
    attention: np.ndarray
    contributions: np.ndarray
    target: int
    map: np.ndarray
    signed: bool
    shared: float
    trust: float | None
    faithfulness: float | None


@torch.no_grad()
def answer(saved: Saved, questions: Sequence[Question]) -> list[Answer]:
    """Answer all questions with one forward pass, and what single ones ask for beside it."""
    model = saved.model
    weight = next(model.parameters())  # whose device and precision are the model's
    pixels = torch.from_numpy(np.stack([question.square for question in questions]))
    images = saved.normalisation.normalise(pixels.permute(0, 3, 1, 2)).to(weight)
    for row, question in enumerate(questions):
        _remove(images[row], question.removed, model.grid)
    with evaluating(model):
        found = Graph(model)(images)
    predicted = found.probabilities.argmax(dim=-1)
    wanted = [-1 if question.target is None else question.target for question in questions]
    targets = torch.tensor(wanted, device=weight.device)
    targets = torch.where(targets < 0, predicted, targets)
    maps = _maps(saved, images, targets, found, questions)
    share = shared(found.probabilities.log(), found.interpreter_probabilities.log())
    measured = {
        row: trust(model, images[row : row + 1]).of_image(0) for row in _asking_for_trust(questions)
    }
    return [
        Answer(
            probabilities=as_numpy(found.probabilities[row]),
            interpreter_probabilities=as_numpy(found.interpreter_probabilities[row]),
            attention=as_numpy(found.attention[row].unflatten(0, model.grid)),
            contributions=as_numpy(found.contributions[row].unflatten(0, model.grid)),
            target=int(targets[row]),
            map=maps[row][0],
            signed=maps[row][1],
            shared=float(share[row]),
            trust=measured.get(row, {}).get("trust"),
            faithfulness=measured.get(row, {}).get("faithfulness"),
        )
        for row in range(len(questions))
    ]


def _maps(
    saved: Saved,
    images: Tensor,
    targets: Tensor,
    found: GraphOutput,
    questions: Sequence[Question],
) -> dict[int, tuple[np.ndarray, bool]]:
    """Each picture's map, and whether it is signed; most are there with the forward pass."""
    grid = saved.model.grid
    maps: dict[int, tuple[np.ndarray, bool]] = {}
    for name in {question.explainer for question in questions}:
        rows = [row for row, question in enumerate(questions) if question.explainer == name]
        if name == "contributions":
            for row in rows:
                to_target = found.contributions[row, :, targets[row]].unflatten(0, grid)
                maps[row] = (as_numpy(to_target), True)
        elif name == "interpreter":
            for row in rows:
                maps[row] = (as_numpy(found.attention[row].unflatten(0, grid)), False)
        else:
            explained = EXPLAINERS[name](saved.model, images[rows], targets[rows])
            for row, heat in zip(rows, explained.maps, strict=True):
                maps[row] = (as_numpy(heat), explained.signed)
    return maps


def _remove(image: Tensor, patches: Sequence[int], grid: tuple[int, int]) -> None:
    """Set patches of one image (3, H, W) to 0, the mean colour, in place."""
    tall, wide = image.shape[1] // grid[0], image.shape[2] // grid[1]
    for patch in patches:
        top, left = patch // grid[1] * tall, patch % grid[1] * wide
        image[:, top : top + tall, left : left + wide] = 0


def _asking_for_trust(questions: Sequence[Question]) -> list[int]:
    return [row for row, question in enumerate(questions) if question.trust]
