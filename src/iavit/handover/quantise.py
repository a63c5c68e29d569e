"""An exported graph in 8-bit integers, and what that changes, measured."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from iavit.data.images import Images
from iavit.data.loaders import evaluation_loader
from iavit.data.sampling import sample
from iavit.errors import UserError
from iavit.evaluate.evaluation import Figure
from iavit.evaluate.faithfulness import POINTS, area, schedule
from iavit.evaluate.prediction import accuracy, agreement
from iavit.evaluate.statistics import bootstrap_intervals, interval
from iavit.files import write_bytes
from iavit.masking.engine import patch_ranks
from iavit.masking.substrates import zeros
from iavit.model.graph import GraphOutput
from iavit.types import Explanation

BATCH = 32  # images in a pass of the runtime
MASKED = 100  # images of which insertion minus deletion is measured: each takes 45 passes


@dataclass(frozen=True)
class Change:
    """A measure of the graph in 32 and in 8 bits, and of their difference, image by image."""

    before: Figure
    after: Figure
    change: Figure


def quantise(path: Path, to: Path) -> None:
    """Write a graph with its matrix products in 8 bits, ranges found while it runs.

    The rest (norms, softmax, the sums that make contributions add up) stays in 32 bits.

    Source: onnxruntime's dynamic quantisation, `quantize_dynamic`, by output channel.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise UserError(
            "`int8` needs the package onnxruntime: pip install 'iavit[export]'"
        ) from error
    with TemporaryDirectory() as name, _quiet():
        written = Path(name) / "int8.onnx"
        quantize_dynamic(
            path,
            written,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        write_bytes(to, written.read_bytes())


def measure_change(before: Path, after: Path, images: Images) -> dict[str, Change]:
    """What 8 bits change of a graph: accuracy, agreement, and insertion minus deletion.

    images: test images, all of which are asked about; insertion and deletion take the first
        `MASKED` of them, the contributions' order, and zeros in place of what is missing.
    """
    first, second = (_measured(_Exported.load(path), images) for path in (before, after))
    return {
        name: Change(
            interval(values),
            interval(second[name]),
            bootstrap_intervals((second[name] - values)[:, None])[0],  # no share, whatever it is
        )
        for name, values in first.items()
    }


@dataclass(frozen=True)
class _Exported:
    """A graph in onnxruntime. grid: (h, w), its patches."""

    session: Any
    grid: tuple[int, int]

    @classmethod
    def load(cls, path: Path) -> _Exported:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        height, width = json.loads(session.get_modelmeta().custom_metadata_map["grid"])
        return cls(session, (height, width))

    def __call__(self, images: Tensor) -> GraphOutput:
        found = self.session.run(list(GraphOutput._fields), {"images": images.numpy()})
        return GraphOutput(*map(torch.from_numpy, found))


def _measured(exported: _Exported, images: Images) -> dict[str, Tensor]:
    """Measure to values of the images."""
    right, agreeing, gains = [], [], []
    for batch in evaluation_loader(images, BATCH):
        output = exported(batch.images)
        right.append(accuracy(output.probabilities, batch.labels))
        agreeing.append(agreement(output.probabilities, output.interpreter_probabilities))
    for batch in evaluation_loader(sample(images, MASKED), BATCH):
        gains.append(_difference(exported, batch.images))
    return {
        "predictor_accuracy": torch.cat(right),
        "agreement": torch.cat(agreeing),
        "difference": torch.cat(gains),
    }


def _difference(exported: _Exported, images: Tensor) -> Tensor:
    """Insertion minus deletion (B,) of the graph's own contributions to its own answer."""
    output, (height, width) = exported(images), exported.grid
    targets = output.probabilities.argmax(dim=-1)
    chosen = targets[:, None, None].expand(-1, height * width, 1)
    maps = output.contributions.gather(2, chosen)[..., 0].unflatten(1, exported.grid)
    ranks = patch_ranks(Explanation(maps, targets, "contributions"), exported.grid)
    behind = zeros(images)

    def score(visible: Tensor) -> Tensor:
        """The target's probability (B,) where patches (B, h, w) are visible."""
        pixels = visible.repeat_interleave(images.shape[2] // height, dim=1)
        pixels = pixels.repeat_interleave(images.shape[3] // width, dim=2)
        shown = torch.where(pixels[:, None], images, behind)
        return exported(shown).probabilities.gather(1, targets[:, None])[:, 0]

    counts = schedule(height * width, POINTS)
    fractions = torch.tensor(counts) / (height * width)
    deletion = torch.stack([score(ranks >= gone) for gone in counts], dim=1)
    insertion = torch.stack([score(ranks < there) for there in counts], dim=1)
    return area(fractions, insertion) - area(fractions, deletion)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's advice on its own options."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
