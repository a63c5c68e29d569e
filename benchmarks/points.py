"""How many points does a curve need?

On a trained run and its test images: how far the areas under insertion and deletion, image by
image, are from those with 225 points, or with every number of patches where there are fewer. The
smallest number of points whose mean absolute difference is below 0.005, over images, both curves
and all explainers, is `POINTS` in `iavit.evaluate.faithfulness`.

    python benchmarks/points.py RUN --images 500 --json benchmarks/results/points.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from results import tell
from torch import Tensor

from iavit.data.datasets import load_dataset
from iavit.data.loaders import evaluation_loader
from iavit.evaluate.faithfulness import Curves, area, curves, schedule
from iavit.explain import EXPLAINERS
from iavit.training.directory import load_run
from iavit.types import Batch

REFERENCE = 225
ENOUGH = 0.005
CANDIDATES = (5, 8, 12, 16, *range(18, 34), 40, 50)


def reference(units: int) -> tuple[float, ...]:
    """Evenly spaced, and whatever the candidates ask for."""
    counts = {round(units * at / (REFERENCE - 1)) for at in range(REFERENCE)}
    counts.update(*(schedule(units, points) for points in CANDIDATES))
    return tuple(count / units for count in sorted(counts))


def thinned(found: Curves, units: int, points: int) -> tuple[Tensor, Tensor]:
    """Areas (B,) under deletion and insertion with fewer of the points that were measured."""
    counts = schedule(units, points)
    reached = (found.fractions * units).round().int().tolist()
    kept = [at for at, count in enumerate(reached) if count in counts]
    if len(kept) != len(counts):
        raise ValueError(f"{points} points are not among the {len(reached)} of the reference")
    at = found.fractions[kept]
    return area(at, found.deletion[:, kept]), area(at, found.insertion[:, kept])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path, help="where to write the differences")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--explainers", default="interpreter,contributions,rollout,random")
    options = parser.parse_args()
    run = load_run(options.run)
    model = run.saved.model.eval()
    images = load_dataset(run.config).test.chosen(torch.arange(options.images))
    torch.manual_seed(0)
    differences: dict[str, dict[int, list[Tensor]]] = {}
    units = model.grid[0] * model.grid[1]
    for batch in evaluation_loader(images, 50):
        with torch.no_grad():
            targets = model.predict(batch.images).argmax(dim=-1)
        for name in options.explainers.split(","):
            with torch.no_grad():
                explanation = EXPLAINERS[name](model, batch.images, targets)
            plain = Batch(batch.images, batch.labels)
            dense = curves(model, plain, explanation, fractions=reference(units))
            exact = torch.cat(
                [area(dense.fractions, curve) for curve in (dense.deletion, dense.insertion)]
            )
            for points in CANDIDATES:
                found = torch.cat(thinned(dense, units, points))
                differences.setdefault(name, {}).setdefault(points, []).append(
                    (found - exact).abs()
                )
    means = {
        name: {
            points: round(float(torch.cat(values).mean()), 5)
            for points, values in by_points.items()
        }
        for name, by_points in differences.items()
    }
    overall = {
        points: round(sum(error[points] for error in means.values()) / len(means), 5)
        for points in CANDIDATES
    }
    enough = [points for points, mean in overall.items() if mean < ENOUGH]
    tell({"patches": units, "enough": enough[:1], "mean": overall, **means}, options.json)


if __name__ == "__main__":
    main()
