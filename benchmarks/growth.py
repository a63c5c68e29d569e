"""How do the bytes that explaining itself keeps for the backward pass grow with the image?

Distinct tensors that autograd keeps, as in `train_step.py`, of `stored`, `detached` and `joint`,
less those of the plain step, at 14 x 14, 28 x 28 and 56 x 56 patches. Four times the patches are
four times the bytes where growth is linear, and sixteen times where whole maps are kept.

    python benchmarks/growth.py --json benchmarks/results/growth.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from results import tell
from train_step import CLASSES, VARIANTS, losses, saved_bytes

from iavit.model.iavit import IAViT

SIZES = (224, 448, 896)


def extra_bytes(backbone: str, size: int, batch: int) -> tuple[int, dict[str, int]]:
    """How many patches there are, and what each variant keeps beyond the plain step."""
    torch.manual_seed(0)
    model = IAViT.create(backbone, CLASSES, size).train()
    images, labels = torch.randn(batch, 3, size, size), torch.randint(CLASSES, (batch,))
    kept = {name: saved_bytes(model, loss, images, labels) for name, loss in losses(model).items()}
    extra = {name: kept[name] - kept["plain"] for name in VARIANTS if name != "plain"}
    return model.grid[0] * model.grid[1], extra


def measure(backbone: str, batch: int) -> dict[str, Any]:
    """Extra bytes at each size, and what they are multiplied by from one size to the next."""
    patches, extras = zip(*(extra_bytes(backbone, size, batch) for size in SIZES), strict=True)
    figures: dict[str, Any] = {"patches": patches, "batch": batch}
    for name in extras[0]:
        taken = [extra[name] for extra in extras]
        steps = zip(taken[1:], taken, strict=False)
        figures[name] = {"extra_bytes": taken, "factors": [round(b / a, 2) for b, a in steps]}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--backbones", default="vit_tiny_patch16_224", help="timm names a,b")
    parser.add_argument("--batch-size", type=int, default=2, help="at least 2, for the alignment")
    options = parser.parse_args()
    figures = {name: measure(name, options.batch_size) for name in options.backbones.split(",")}
    tell(figures, options.json)


if __name__ == "__main__":
    main()
