"""Pictures through a model, a few at a time: the one way from an image to its explanation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iavit.errors import UserError
from iavit.evaluate.description import describe
from iavit.evaluate.evaluation import Sufficient
from iavit.explain import EXPLAINERS
from iavit.handover.explained import ExplainedImage
from iavit.handover.fit import fitted, frame_of
from iavit.handover.targets import class_index
from iavit.masking.engine import patch_ranks
from iavit.model.weights import Saved

TOGETHER = 16  # images in a forward pass: more are hardly faster, and wait longer for the first


def explain_pictures(
    saved: Saved,
    pictures: Iterable[tuple[str, Image.Image]],
    *,
    target: str | int | None = None,
    explainers: Sequence[str] = ("contributions",),
    sufficient: Sufficient | None = None,
) -> Iterator[ExplainedImage]:
    """Explain RGB pictures, (name, picture) each; of each, one explanation an explainer.

    No more than `TOGETHER` pictures are held at a time. Pictures that are not square get a
    border: see `fitted`.

    target: the class explained, by name or number; by default the one predicted of each.
    sufficient: how few patches were found to keep the answer, by explainer.

    Raises `UserError` for an unknown class or explainer, and for a model of images that are not
    square.
    """
    if not isinstance(saved.model.architecture.img_size, int):
        raise UserError(
            "pictures are explained by models of square images; this one's are not: give the model "
            "itself images (B, 3, H, W), `model.contributions(images)`"
        )
    for name in explainers:
        if name not in EXPLAINERS:
            raise UserError(
                f"`explainer`: there is no '{name}'; name one of {', '.join(EXPLAINERS)}"
            )
    chosen = None if target is None else class_index(saved.classes, target)
    waiting = iter(pictures)
    while some := list(islice(waiting, TOGETHER)):
        yield from _explained(saved, some, chosen, explainers, sufficient)


def _explained(
    saved: Saved,
    pictures: Sequence[tuple[str, Image.Image]],
    target: int | None,
    explainers: Sequence[str],
    sufficient: Sufficient | None,
) -> list[ExplainedImage]:
    model, side = saved.model, int(saved.model.architecture.img_size)  # type: ignore[arg-type]
    weight = next(model.parameters())  # whose device and precision are the model's
    pixels = [np.array(fitted(picture, side, saved.normalisation)) for _, picture in pictures]
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    images = saved.normalisation.normalise(stacked).to(weight)
    targets = None
    if target is not None:
        targets = torch.full((len(images),), target, device=weight.device)
    chosen = {name: EXPLAINERS[name] for name in explainers}
    description = describe(model, images, chosen, targets)
    predictor, interpreter = as_numpy(description.predictor), as_numpy(description.interpreter)
    attention, contributions = as_numpy(description.attention), as_numpy(description.contributions)
    maps = {
        name: as_numpy(explanation.maps) for name, explanation in description.explanations.items()
    }
    predicted = description.targets == description.predictor.argmax(dim=-1)
    kept = {
        name: (patch_ranks(explanation, model.grid) < sufficient.explainers[name].patches)
        .cpu()
        .numpy()
        for name, explanation in description.explanations.items()
        if sufficient is not None and name in sufficient.explainers
    }
    return [
        ExplainedImage(
            name=name,
            picture=picture,
            classes=saved.classes,
            probabilities=predictor[row],
            interpreter_probabilities=interpreter[row],
            attention=attention[row],
            all_contributions=contributions[row],
            target=int(description.targets[row]),
            explainer=explainer,
            map=maps[explainer][row],
            signed=explanation.signed,
            trust=description.trust.of_image(row)["trust"],
            answer=round(float(description.trust.answer[row]), 6),
            faithfulness=round(float(description.trust.faithfulness[row]), 6),
            frame=frame_of(picture.size, side),
            normalisation=saved.normalisation,
            sufficient=kept[explainer][row] if explainer in kept and predicted[row] else None,
            coverage=None if sufficient is None else sufficient.coverage_asked,
        )
        for row, (name, picture) in enumerate(pictures)
        for explainer, explanation in description.explanations.items()
    ]


def as_numpy(values: Tensor) -> np.ndarray:
    """float32 on the processor, without a gradient."""
    found: np.ndarray = values.detach().float().cpu().numpy()
    return found
