"""How fast are insertion and deletion, beside how others measure them and beside the limit?

Images a second, medians over rounds in which the ways take turns, of
- `ours`: `curves` on patches, with zeros where patches are not;
- `drop`: the same with the tokens of those patches left out;
- `pixels`: ours with single pixels ranked, as the peers rank them;
- `authors`: one image and one step at a time, as the notebooks do;
- `torchcam`: torch-cam's `DeletionInsertionMetric`;
- `quantus`: Quantus' `PixelFlipping`, twice: with the map for deletion, and with its opposite,
  whose curve is that of insertion seen backwards; in the steps nearest to the points asked for
  that it takes;
- `limit`: as many plain forward passes as two curves have points, in the best of a few batch sizes.

`passes` says how many forward passes an image costs each way; ours leaves out what it knows
already, and on patches it has no more points than there are patches.

    python benchmarks/perturbation.py --json benchmarks/results/perturbation.json
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import tell
from torch import Tensor, nn

from iavit.evaluate.faithfulness import curves
from iavit.masking.engine import Perturbation
from iavit.masking.substrates import SUBSTRATES
from iavit.model.backbones import create_backbone
from iavit.types import Batch, Explanation

CLASSES = 1000
# Of plain forward passes.
BATCHES = {"cpu": (1, 4, 8, 16, 32, 64), "cuda": (64, 128, 256, 512)}

Way = Callable[[], Any]


def authors_way(model: nn.Module, images: Tensor, maps: Tensor, target: int, points: int) -> None:
    """One copy a forward pass, each made from the one before by a number of pixels."""
    with torch.no_grad():
        for image, heat in zip(images, maps, strict=True):
            order = heat.flatten().argsort(descending=True)
            for start, end in ((image, torch.zeros_like(image)), (torch.zeros_like(image), image)):
                copy, goal = start.flatten(1).clone(), end.flatten(1)
                for part in (order[:0], *order.tensor_split(points - 1)):
                    copy[:, part] = goal[:, part]
                    logits = model(copy.view(1, *image.shape))
                    logits.softmax(dim=-1)[0, target].item()


class _Given:
    """What torch-cam asks of an extractor of maps, around maps that are there already."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, _index: Any, _scores: Any) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> Any:
        return torch.no_grad()


def torchcam_way(
    model: nn.Module, images: Tensor, maps: Tensor, target: int, points: int, batch: int
) -> None:
    from torchcam.metrics import DeletionInsertionMetric

    metric = DeletionInsertionMetric(
        _Given(model, maps), partial(torch.softmax, dim=-1), steps=points - 1, batch_size=batch
    )
    with torch.no_grad():
        metric.update(images, class_idx=target)
    metric.summary()


def quantus_way(
    model: nn.Module, images: Tensor, maps: Tensor, target: int, points: int, batch: int
) -> None:
    if not hasattr(np, "trapz"):  # Quantus 0.6.0 calls it, numpy 2.4 has renamed it
        np.trapz = np.trapezoid  # type: ignore[attr-defined]
    from quantus import PixelFlipping

    heat = np.repeat((maps - maps.mean()).numpy()[:, None], 3, axis=1)  # it wants both signs
    pixels = maps[0].numel()
    divisors = [step for step in range(1, pixels + 1) if pixels % step == 0]  # all it takes
    step = min(divisors, key=lambda step: abs(step - 3 * pixels / (points - 1)))
    for sign in (1.0, -1.0):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            PixelFlipping(
                features_in_step=step,
                perturb_baseline=0.0,
                disable_warnings=True,
                return_auc_per_sample=True,
            )(
                model=model,
                x_batch=images.numpy(),
                y_batch=np.full(len(images), target),
                a_batch=sign * heat,
                device="cpu",
                batch_size=batch,
            )


def plain_way(model: nn.Module, images: Tensor, points: int, batch: int) -> None:
    """As many forward passes as both curves of every image have points."""
    left = 2 * points * len(images)
    with torch.inference_mode():
        while left > 0:
            size = min(batch, left)
            model(images[:1].expand(size, -1, -1, -1).contiguous()).softmax(dim=-1)
            left -= size


def best_batch(model: nn.Module, images: Tensor) -> int:
    """The batch size with the least time a copy, found in this run: medians of three."""
    seconds = {}
    for size in BATCHES[images.device.type]:
        pictures = images[:1].expand(size, -1, -1, -1).contiguous()
        taken = []
        with torch.inference_mode():
            for _ in range(3):
                _wait(images)
                started = time.perf_counter()
                model(pictures)
                _wait(images)
                taken.append(time.perf_counter() - started)
        seconds[size] = statistics.median(taken) / size
    return min(seconds, key=seconds.__getitem__)


def ours(
    model: nn.Module,
    batch: Batch,
    maps: Tensor,
    points: int,
    perturbation: Perturbation,
    pixels: bool,
) -> None:
    grid = (int(maps.shape[1]), int(maps.shape[2])) if pixels else None
    curves(
        model,
        batch,
        Explanation(maps, batch.labels, "given"),
        points=points,
        grid=grid,
        perturbation=perturbation,
    )


def count_passes(model: nn.Module, way: Way) -> int:
    """Copies that go through the first block."""
    copies = [0]

    def count(_part: nn.Module, inputs: Any, _output: Any) -> None:
        copies[0] += len(inputs[0])

    hook = model.blocks[0].norm1.register_forward_hook(count)  # type: ignore[union-attr,index]
    way()
    hook.remove()
    return copies[0]


def measure(
    backbone: str,
    size: int,
    count: int,
    points: int,
    rounds: int,
    device: torch.device,
    chosen: list[str],
    half: bool = False,
) -> dict[str, Any]:
    """Images a second each way, and how many of the limit's that is.

    half: whether `ours`, `drop`, `pixels` and `limit` run in bf16.
    """
    torch.manual_seed(0)
    model = create_backbone(backbone, num_classes=CLASSES, img_size=size).to(device).eval()
    images = torch.randn(count, 3, size, size, device=device)
    maps = torch.rand(count, size, size, device=device)
    batch = Batch(images, torch.full((count,), 7, device=device))
    cast = torch.bfloat16 if half else None

    def limit() -> None:
        with torch.autocast(device.type, cast, enabled=half):
            plain_way(model, images, points, best)

    with torch.autocast(device.type, cast, enabled=half):
        best = best_batch(model, images)
    zeros = Perturbation(autocast=cast)
    drop = Perturbation(SUBSTRATES["drop"], autocast=cast)
    ways: dict[str, Way] = {
        "ours": lambda: ours(model, batch, maps, points, zeros, False),
        "drop": lambda: ours(model, batch, maps, points, drop, False),
        "pixels": lambda: ours(model, batch, maps, points, zeros, True),
        "authors": lambda: authors_way(model, images, maps, 7, points),
        "torchcam": lambda: torchcam_way(model, images, maps, 7, points, best),
        "quantus": lambda: quantus_way(model, images, maps, 7, points, best),
        "limit": limit,
    }
    ways = {name: way for name, way in ways.items() if name in (*chosen, "limit")}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            _wait(images)
            started = time.perf_counter()
            way()
            _wait(images)
            seconds[name].append(time.perf_counter() - started)
    times = {name: statistics.median(taken) for name, taken in seconds.items()}
    return {
        "best_batch": best,
        **{
            name: {
                "images_per_second": round(count / taken, 4),
                "of_limit": round(times["limit"] / taken, 3),
                "passes": count_passes(model, ways[name]) / count,
            }
            for name, taken in times.items()
        },
    }


def _wait(images: Tensor) -> None:
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--backbone", default="vit_small_patch16_224", help="a timm name")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--points", default="28,225", help="numbers of points a,b")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--ways", default="ours,drop,pixels,authors,torchcam,quantus", help="which, a,b"
    )
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = {
        points: measure(
            options.backbone,
            options.img_size,
            options.images,
            int(points),
            options.rounds,
            device,
            options.ways.split(","),
        )
        for points in options.points.split(",")
    }
    tell(results, options.json)


if __name__ == "__main__":
    main()
