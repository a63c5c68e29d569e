"""Is the memory of insertion and deletion flat in the number of images and of points?

Peak resident memory of a process of its own for each number of images and points, beyond that of
the same process before the curves, with at most `--copies` masked copies held at a time.

    python benchmarks/memory.py --json benchmarks/results/memory.json
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import torch
from results import tell

from iavit.evaluate.faithfulness import curves
from iavit.masking.engine import Perturbation
from iavit.masking.substrates import SUBSTRATES
from iavit.model.backbones import create_backbone
from iavit.types import Batch, Explanation


def peak() -> float:
    """MiB, of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(backbone: str, size: int, images: int, points: int, copies: int) -> float:
    """MiB that the curves of so many images added to what the process had."""
    torch.manual_seed(0)
    model = create_backbone(backbone, num_classes=10, img_size=size).eval()
    pixels = torch.randn(images, 3, size, size)
    targets = torch.zeros(images, dtype=torch.int64)
    batch = Batch(pixels, targets)
    maps = Explanation(torch.rand(images, *model.patch_embed.grid_size), targets, "random")
    perturbation = Perturbation(substrate=SUBSTRATES["mean"], copies=copies)
    before = peak()
    curves(model, batch, maps, points=points, perturbation=perturbation)
    return peak() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--backbone", default="vit_tiny_patch16_224", help="a timm name")
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--copies", type=int, default=16)
    parser.add_argument("--images", default="2,16", help="a,b")
    parser.add_argument("--points", default="5,40", help="a,b")
    parser.add_argument("--one", action="store_true", help="measure one pair here")
    options = parser.parse_args()
    numbers = [[int(n) for n in text.split(",")] for text in (options.images, options.points)]
    if options.one:
        (images,), (points,) = numbers
        added = measure(options.backbone, options.img_size, images, points, options.copies)
        print(round(added, 1))
        return
    shared = [sys.executable, __file__, "--one", "--backbone", options.backbone]
    shared += ["--img-size", str(options.img_size), "--copies", str(options.copies)]
    figures = {}
    for images in numbers[0]:
        for points in numbers[1]:
            command = [*shared, "--images", str(images), "--points", str(points)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            figures[f"{images} images, {points} points"] = float(run.stdout)
    tell({"copies": options.copies, "mib_beyond_the_model": figures}, options.json)


if __name__ == "__main__":
    main()
