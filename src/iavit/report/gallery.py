"""Test images that the predictor gets right and wrong, with every explainer's map."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from iavit.data.images import Images
from iavit.evaluate.description import describe, right_and_wrong
from iavit.explain import Explainer
from iavit.model.weights import Saved
from iavit.report.maps import blend, is_small, outline, painted, resized
from iavit.types import Explanation

WANTED = 8  # images of each kind
LARGE = 160  # pixels a side of a picture that is not small: 16 rows of 19 maps are 3 MB


@dataclass(frozen=True)
class Tile:
    """A picture as a data URI; what it shows, and the same for who does not see it.

    signed: whether it is a map whose colours speak for and against.
    """

    uri: str
    caption: str
    alt: str
    signed: bool = False


@dataclass(frozen=True)
class Case:
    """One test image: its place in the data set, what was said of it, and its pictures."""

    number: int
    truth: str
    predicted: str
    confidence: float
    interpreted: str
    interpreter_confidence: float
    trust: float  # from 0 to 1
    tiles: tuple[Tile, ...]
    size: tuple[int, int]  # (H, W) in pixels
    evidence: str  # the border of the evidence as an SVG path over (H, W), or nothing

    @property
    def agree(self) -> bool:
        """Whether both branches name the same class."""
        return self.predicted == self.interpreted


def gallery(
    saved: Saved,
    images: Images,
    explainers: Mapping[str, Explainer],
    seed: int,
    *,
    among: Tensor,
    true_class: bool = False,
) -> tuple[list[Case], list[Case]]:
    """The first images of an order that are predicted rightly, and wrongly.

    among: (m,) int64, the indices of images in the order in which they are looked at.
    seed: of what an explainer draws; the generator of the caller is left as it was.
    true_class: explain the true class, not the one that the predictor chooses.
    """
    saved.model.eval()
    right, wrong = right_and_wrong(saved.model, images, among, WANTED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second = (
            _cases(saved, images, indices, explainers, true_class) for indices in (right, wrong)
        )
    return first, second


def legend(signed: bool) -> str:
    """The colours of a map from the least to the most, as a data URI."""
    ramp = np.linspace(-1 if signed else 0, 1, 160, dtype=np.float32)[None].repeat(12, axis=0)
    strip = painted(np.full((12, 160, 1), 0.5), ramp, signed)
    return _uri(Image.fromarray((strip * 255).round().astype(np.uint8)), "PNG")


def _cases(
    saved: Saved,
    images: Images,
    indices: list[int],
    explainers: Mapping[str, Explainer],
    true_class: bool,
) -> list[Case]:
    if not indices:
        return []
    batch = images[indices].to(next(saved.model.parameters()).device)
    targets = batch.labels if true_class else None
    description = describe(saved.model, batch.images, explainers, targets)
    predictor = description.predictor.max(dim=-1)
    interpreter = description.interpreter.max(dim=-1)
    pixels = images.normalisation.restore(batch.images).permute(0, 2, 3, 1).cpu().numpy()
    return [
        Case(
            number=index,
            truth=saved.classes[int(batch.labels[row])],
            predicted=saved.classes[int(predictor.indices[row])],
            confidence=float(predictor.values[row]),
            interpreted=saved.classes[int(interpreter.indices[row])],
            interpreter_confidence=float(interpreter.values[row]),
            trust=float(description.trust.trust[row]),
            tiles=_tiles(index, pixels[row], description.explanations, row),
            size=pixels.shape[1:3],
            evidence="" if batch.evidence is None else outline(_array(batch.evidence[row])),
        )
        for row, index in enumerate(indices)
    ]


def _tiles(
    number: int, pixels: np.ndarray, explanations: Mapping[str, Explanation], row: int
) -> tuple[Tile, ...]:
    """The image (H, W, 3) itself, then one tile for each explainer's map of it."""
    picture = Image.fromarray(pixels)
    small = is_small(picture)
    side, kind = (picture.width, "PNG") if small else (LARGE, "JPEG")
    maps = [
        Tile(
            _uri(blend(picture, _array(explanation.maps[row]), explanation.signed, side), kind),
            name,
            f"Map of {name} over test image {number}",
            explanation.signed,
        )
        for name, explanation in explanations.items()
    ]
    return (
        Tile(_uri(resized(picture, (side, side)), kind), "image", f"Test image {number}"),
        *maps,
    )


def _uri(picture: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    picture.save(file, kind, **({"quality": 85} if kind == "JPEG" else {"optimize": True}))
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{encoded}"


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.cpu().numpy()
    return array
