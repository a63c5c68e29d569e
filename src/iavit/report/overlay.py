"""Explanations of image files: a picture and a line of JSON for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from iavit.data.transforms import central_square, to_pixels
from iavit.errors import UserError
from iavit.evaluate.trust import trust
from iavit.explain import Explainer
from iavit.files import make_folder, write_bytes
from iavit.model.weights import Saved
from iavit.report.figures import overlay_figure

TOP = 3  # classes that are told


@torch.no_grad()
def explain_images(
    saved: Saved, pictures: Mapping[Path, Image.Image], explain: Explainer, folder: Path
) -> Iterator[dict[str, Any]]:
    """Explain each picture's predicted class: write `folder/NAME.png`, yield its facts.

    pictures: file to RGB image of any size; the model sees its central square.
    """
    model = saved.model
    size = model.architecture.img_size
    if not isinstance(size, int):
        raise UserError("pictures are explained by models of square images; this one's are not")
    make_folder(folder)
    device = next(model.parameters()).device
    taken: set[str] = set()
    for path, picture in pictures.items():
        pixels = to_pixels(picture, size)
        images = saved.normalisation.normalise(pixels)[None].to(device)
        output = model(images, aligned=False)
        target = output.logits.argmax(dim=-1)
        explanation = explain(model, images, target)
        facts: dict[str, Any] = {
            "image": str(path),
            "predictor": _top(output.logits[0], saved.classes),
            "interpreter": _top(output.interpreter_logits[0], saved.classes),
            "agreement": bool(target == output.interpreter_logits.argmax(dim=-1)),
            "explainer": explanation.method,
            "trust": trust(model, images).told(0),
            "target": saved.classes[int(target)],
            "map": str(folder / _free_name(path.stem, taken)),
        }
        figure = overlay_figure(
            central_square(picture), explanation.maps[0].cpu().numpy(), explanation.signed, facts
        )
        write_bytes(Path(facts["map"]), figure)
        yield facts


def _top(logits: torch.Tensor, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """The most probable classes of (C,) logits, most probable first."""
    probabilities = logits.float().softmax(dim=-1)
    best = probabilities.topk(min(TOP, len(classes)))
    return [
        {"class": classes[int(index)], "probability": round(float(value), 6)}
        for value, index in zip(best.values, best.indices, strict=True)
    ]


def _free_name(stem: str, taken: set[str]) -> str:
    """A file name that no other picture of this call has."""
    name, number = f"{stem}.png", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.png"
    taken.add(name)
    return name
