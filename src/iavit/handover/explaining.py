"""Pictures through a model, a few at a time: the one way from an image to its explanation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iavit.errors import UserError
from iavit.evaluate.trust import trust
from iavit.explain import EXPLAINERS
from iavit.handover.explained import ExplainedImage
from iavit.handover.fit import fitted, frame_of
from iavit.handover.graph import Graph
from iavit.handover.targets import class_index
from iavit.model.explainable import evaluating
from iavit.model.weights import Saved

TOGETHER = 16  # images in a forward pass: more are hardly faster, and wait longer for the first


def explain_pictures(
    saved: Saved,
    pictures: Iterable[tuple[str, Image.Image]],
    *,
    target: str | int | None = None,
    explainers: Sequence[str] = ("contributions",),
) -> Iterator[ExplainedImage]:
    """Explain RGB pictures, (name, picture) each; of each, one explanation an explainer.

    No more than `TOGETHER` pictures are held at a time. Pictures that are not square get a
    border: see `fitted`.

    target: the class explained, by name or number; by default the one predicted of each.

    Raises `UserError` for an unknown class or explainer, and for a model of images that are not
    square.
    """
    if not isinstance(saved.model.architecture.img_size, int):
        raise UserError("pictures are explained by models of square images; this one's are not")
    for name in explainers:
        if name not in EXPLAINERS:
            raise UserError(
                f"`explainer`: there is no '{name}'; name one of {', '.join(EXPLAINERS)}"
            )
    chosen = None if target is None else class_index(saved.classes, target)
    waiting = iter(pictures)
    while some := list(islice(waiting, TOGETHER)):
        yield from _explained(saved, some, chosen, explainers)


@torch.no_grad()
def _explained(
    saved: Saved,
    pictures: Sequence[tuple[str, Image.Image]],
    target: int | None,
    explainers: Sequence[str],
) -> list[ExplainedImage]:
    model, side = saved.model, int(saved.model.architecture.img_size)  # type: ignore[arg-type]
    device = next(model.parameters()).device
    pixels = [np.array(fitted(picture, side, saved.normalisation)) for _, picture in pictures]
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    images = saved.normalisation.normalise(stacked).to(device)
    with evaluating(model):
        answers = Graph(model)(images)
    predicted = answers.probabilities.argmax(dim=-1)
    targets = predicted if target is None else torch.full_like(predicted, target)
    trusted = trust(model, images)
    maps = {name: EXPLAINERS[name](model, images, targets) for name in explainers}
    probabilities = _numpy(answers.probabilities)
    interpreter_probabilities = _numpy(answers.interpreter_probabilities)
    attention = _numpy(answers.attention.unflatten(1, model.grid))
    contributions = _numpy(answers.contributions.unflatten(1, model.grid))
    return [
        ExplainedImage(
            name=name,
            picture=picture,
            classes=saved.classes,
            probabilities=probabilities[row],
            interpreter_probabilities=interpreter_probabilities[row],
            attention=attention[row],
            all_contributions=contributions[row],
            target=int(targets[row]),
            explainer=explainer,
            map=_numpy(explanation.maps[row]),
            signed=explanation.signed,
            trust=round(float(trusted.trust[row]), 6),
            answer=round(float(trusted.answer[row]), 6),
            parts=round(float(trusted.parts[row]), 6),
            frame=frame_of(picture.size, side),
            normalisation=saved.normalisation,
        )
        for row, (name, picture) in enumerate(pictures)
        for explainer, explanation in maps.items()
    ]


def _numpy(values: Tensor) -> np.ndarray:
    """float32 on the processor, without a gradient."""
    found: np.ndarray = values.detach().float().cpu().numpy()
    return found
