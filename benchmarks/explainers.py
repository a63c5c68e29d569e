"""What does an explanation cost, in forward passes?

The time of every explainer on one image and on a batch, over the time of a plain forward pass of
the same model on the same images, in the same run: medians over rounds, in each of which the
plain pass and every explainer take their turn. `interpreter` and `contributions` should stay
below 1.06; explainers of many passes can be left out.

    python benchmarks/explainers.py --json benchmarks/results/explainers.json
    python benchmarks/explainers.py --explainers interpreter,contributions --rounds 41
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from results import tell

from iavit.explain import EXPLAINERS, SLOW
from iavit.model.iavit import IAViT

CLASSES = 1000


def measure(
    model: IAViT, size: int, batch: int, names: list[str], rounds: int, device: torch.device
) -> dict[str, float]:
    """Each explainer's median time over that of a plain forward pass."""
    images = torch.randn(batch, 3, size, size, device=device)
    targets = torch.randint(CLASSES, (batch,), device=device)

    def explaining(name: str) -> Callable[[], object]:
        return lambda: EXPLAINERS[name](model, images, targets)

    calls = {name: explaining(name) for name in names}
    calls["plain"] = lambda: model.predict(images)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            _wait(device)
            started = time.perf_counter()
            with torch.no_grad():
                call()
            _wait(device)
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    plain = statistics.median(seconds.pop("plain"))
    figures = {name: round(statistics.median(times) / plain, 3) for name, times in seconds.items()}
    return {"plain_milliseconds": round(1000 * plain, 3), **figures}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    parser.add_argument("--backbone", default="vit_small_patch16_224", help="a timm name")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--batch-sizes", default="1,32", help="images explained at once a,b")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--explainers", default="all", help="names a,b, or quick, or all")
    options = parser.parse_args()
    names = list(EXPLAINERS)
    if options.explainers == "quick":
        names = [name for name in names if name not in SLOW]
    elif options.explainers != "all":
        names = options.explainers.split(",")
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = IAViT.create(options.backbone, CLASSES, options.img_size).to(device).eval()
    results = {
        f"{options.backbone}, batch {batch}": measure(
            model, options.img_size, batch, names, options.rounds, device
        )
        for batch in map(int, options.batch_sizes.split(","))
    }
    tell(results, options.json)


if __name__ == "__main__":
    main()
