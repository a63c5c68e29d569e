"""`PROTOCOLS`: how others measure faithfulness, to the letter, run by the one engine.

Figures of different papers are not comparable: they differ in what is removed at a time, in what
stands there instead, in the class that is asked about and in how a curve becomes a number. Each
protocol fixes all of these as its source does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.evaluate.faithfulness import area
from iavit.masking.engine import Perturbation, patch_ranks, ranked_answers
from iavit.masking.substrates import SUBSTRATES, Substrate
from iavit.types import Batch, Explanation

TargetClass = Literal["predicted", "true"]
TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Measure:
    """One curve of a protocol, and its number.

    better: which direction is better.
    shows: the units that are visible at a count of k: the first k, or all but the first or last.
    counts: number of units and image width in pixels to the counts, ascending.
    summary: fractions (P,) and curves (B, P) to (B,).
    unit: pixels a side of what is shown or not.
    substrate: what stands in the other places, a name in `SUBSTRATES` or one of those below.
    read: of the class asked about, its probability, whether it has the largest, or by how much
        it is below that of the whole image.
    """

    better: Literal["higher", "lower"]
    shows: Literal["first", "all_but_first", "all_but_last"]
    counts: Callable[[int, int], list[int]]
    summary: Callable[[Tensor, Tensor], Tensor]
    unit: int = 1
    substrate: str = "zeros"
    read: Literal["probability", "hit", "drop"] = "probability"


@dataclass(frozen=True)
class Protocol:
    """What a source measures.

    description: in one line. source: where it is defined.
    explained, asked: the class that the maps are made for, and the one whose score is read.
    measures: by name.
    """

    description: str
    source: str
    explained: TargetClass
    asked: TargetClass
    measures: dict[str, Measure]


def protocol_values(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    protocol: Protocol,
    asked: Tensor,
    *,
    substrates: Mapping[str, Substrate] = SUBSTRATES,
    perturbation: Perturbation | None = None,
) -> dict[str, Tensor]:
    """Every measure of a protocol on the images of a batch, (B,) each.

    explanation: of `protocol.explained`; a map on the patch grid is resized to the pixels
        bilinearly. Of equal pixels, which come first is drawn at random from a fixed seed; the
        sources take them in memory order, or leave it open.
    asked: (B,) int64, the classes of `protocol.asked`.
    substrates: by name, where the data's own black is known.
    perturbation: the bound on memory and the precision; the rest is the protocol's.

    Raises `UserError` where images are not made of whole units.
    """
    found = {}
    for name, measure in protocol.measures.items():
        fractions, values = curve(
            model,
            batch,
            explanation,
            measure,
            asked,
            substrates=substrates,
            perturbation=perturbation,
        )
        found[name] = measure.summary(fractions, values).float()
    return found


def curve(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    measure: Measure,
    asked: Tensor,
    *,
    substrates: Mapping[str, Substrate] = SUBSTRATES,
    perturbation: Perturbation | None = None,
) -> tuple[Tensor, Tensor]:
    """One measure's fractions (P,) and curves (B, P); arguments as in `protocol_values`."""
    height, width = batch.images.shape[2:]
    if height % measure.unit or width % measure.unit:
        raise UserError(
            f"`protocol`: regions of {measure.unit} x {measure.unit} pixels do not divide images "
            f"of {height} x {width}; choose another protocol"
        )
    grid = (height // measure.unit, width // measure.unit)
    units = grid[0] * grid[1]
    ranks = patch_ranks(_in_pixels(explanation, (height, width)), grid)
    counts = measure.counts(units, width)
    visible = {
        "first": [(0, count) for count in counts],
        "all_but_first": [(count, units) for count in counts],
        "all_but_last": [(0, units - count) for count in counts],
    }[measure.shows]
    perturbation = replace(
        perturbation or Perturbation(),
        substrate=(OF_PROTOCOLS | dict(substrates))[measure.substrate],
        score="probability",
    )
    answers = ranked_answers(
        model, batch.images, asked, ranks, [(0, units), *visible], perturbation
    )
    whole, scores = answers.scores[:, :1], answers.scores[:, 1:]
    values = {
        "probability": scores,
        "hit": answers.chosen[:, 1:].to(scores.dtype),
        "drop": whole - scores,
    }[measure.read]
    fractions = values.new_tensor(counts) / units
    return fractions, values


def rise_blur(images: Tensor, size: int = 11, sigma: float = 5.0) -> Tensor:
    """The images (B, 3, H, W) blurred as in RISE's code, zeros beyond the border.

    The kernel is an impulse in a square of `size` pixels, blurred inside of that square, with
    what leaves it reflected back at its border: wider and flatter than a Gaussian cut off there.
    """
    reach = int(4 * sigma + 0.5)  # where scipy cuts a Gaussian off
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    at = (size // 2 + offsets.long()) % (2 * size)
    at = torch.where(at < size, at, 2 * size - 1 - at)  # reflected, the border pixel twice
    line = torch.zeros(size, dtype=torch.float64).index_add_(0, at, weights / weights.sum())
    kernel = torch.outer(line, line).to(images).expand(3, 1, size, size)
    return nn.functional.conv2d(images, kernel, padding=size // 2, groups=3)


def lowest(images: Tensor) -> Tensor:
    """Each image's own smallest number, of all pixels and channels: what Quantus calls black."""
    return images.amin(dim=(1, 2, 3), keepdim=True).expand_as(images)


OF_PROTOCOLS: dict[str, Substrate] = {"rise_blur": rise_blur, "lowest": lowest}


def _in_pixels(explanation: Explanation, size: tuple[int, int]) -> Explanation:
    if explanation.maps.shape[1:] == size:
        return explanation
    maps = nn.functional.interpolate(explanation.maps[:, None].double(), size, mode="bilinear")
    return replace(explanation, maps=maps[:, 0])


def _rows(units: int, width: int) -> list[int]:
    """A row's worth of pixels more each time, from none to all: 225 counts of 224 x 224."""
    return [*range(0, units, width), units]


def _twentieths(units: int, width: int) -> list[int]:
    """Twenty equal steps, rounded up to whole pixels, from none to all."""
    return [*range(0, units, -(-units // 20)), units]


def _tenths(units: int, width: int) -> list[int]:
    return [int(units * fraction) for fraction in TENTHS]


def _mean(fractions: Tensor, values: Tensor) -> Tensor:
    return values.mean(dim=1)


def _by_points(fractions: Tensor, values: Tensor) -> Tensor:
    """Trapezoids of equal width, whatever the last step was; from 0 to 1."""
    return torch.trapezoid(values, dim=1) / (values.shape[1] - 1)


def _by_steps(fractions: Tensor, values: Tensor) -> Tensor:
    """Trapezoids of width 1: grows with the number of steps."""
    return torch.trapezoid(values, dim=1)


def _average(fractions: Tensor, values: Tensor) -> Tensor:
    """Trapezoids, over the width of the range."""
    return area(fractions, values) / (fractions[-1] - fractions[0])


PROTOCOLS: dict[str, Protocol] = {
    "rise": Protocol(
        description="a row of pixels a step; deletion to zeros, insertion from a blurred image",
        source="Petsiuk et al., BMVC 2018, and evaluation.py of github.com/eclique/RISE",
        explained="predicted",
        asked="predicted",
        measures={
            "deletion": Measure("lower", "all_but_first", _rows, _by_points),
            "insertion": Measure("higher", "first", _rows, _by_points, substrate="rise_blur"),
        },
    ),
    "iavit_authors": Protocol(
        description="a row of pixels a step; zeros for both; true class; plain mean of the points",
        source="notebooks of github.com/qiangyao1988/IA-ViT",
        explained="true",
        asked="true",
        measures={
            "deletion": Measure("lower", "all_but_first", _rows, _mean),
            "insertion": Measure("higher", "first", _rows, _mean),
        },
    ),
    "chefer": Protocol(
        description="accuracy with 10 to 90 % of the pixels black, most or least important first",
        source="Chefer et al., CVPR 2021, section 4, and pertubation_eval_from_hdf5.py of "
        "github.com/hila-chefer/Transformer-Explainability",
        explained="predicted",
        asked="true",
        measures={
            "positive": Measure(
                "lower", "all_but_first", _tenths, _average, substrate="black", read="hit"
            ),
            "negative": Measure(
                "higher", "all_but_last", _tenths, _average, substrate="black", read="hit"
            ),
        },
    ),
    "torchcam": Protocol(
        description="twenty steps of pixels; zeros for both; trapezoids over the fractions",
        source="torchcam 0.5.0, DeletionInsertionMetric with softmax",
        explained="predicted",
        asked="predicted",
        measures={
            "deletion": Measure("lower", "all_but_first", _twentieths, area),
            "insertion": Measure("higher", "first", _twentieths, area),
        },
    ),
    "quantus": Protocol(
        description="pixel flipping a row a step, and region perturbation of 100 regions of 8 x 8",
        source="Quantus 0.6.0, PixelFlipping(features_in_step=3 * width) and "
        "RegionPerturbation(); after Bach et al. 2015 and Samek et al. 2017",
        explained="true",
        asked="true",
        measures={
            "pixel_flipping": Measure(
                "lower",
                "all_but_first",
                lambda units, width: _rows(units, width)[1:],
                _by_steps,
                substrate="lowest",
            ),
            "region_perturbation": Measure(
                "higher",
                "all_but_first",
                lambda units, width: list(range(1, min(units, 100) + 1)),
                _by_steps,
                unit=8,
                substrate="lowest",
                read="drop",
            ),
        },
    ),
}
