"""What does an explanation cost beside a prediction?

Ratios to the plain timm model's forward pass without gradient, batches of 1 and 32, of
- `branch W`: both logits and the interpreter's map, as `iavit explain` and `evaluate` ask, with a
  branch of the interpreter's own of so many channels: 0 is the paper's, which has none, and
  the default and twice as many follow it;
- `everything`: with the default branch and the attention received in the extractor, which only the
  explainer of that name asks for.

Times are compared as in `train_step.py`.

    python benchmarks/predict.py --json benchmarks/results/predict.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from results import ratios_in_turn, tell
from torch import Tensor

from iavit.model.backbones import create_backbone
from iavit.model.branch import default_width
from iavit.model.iavit import IAViT

CLASSES = 10


def measure(
    backbone: str, size: int, batch: int, rounds: int, device: torch.device
) -> dict[str, float]:
    """Ratios of one backbone at one batch size."""
    torch.manual_seed(0)
    vit = create_backbone(backbone, num_classes=CLASSES, img_size=size).to(device).eval()
    images = torch.randn(batch, 3, size, size, device=device)
    default = default_width(vit.embed_dim)
    models = {
        width: IAViT.around(vit, backbone, branch_width=width).to(device).eval()
        for width in (0, default, 2 * default)
    }
    variants: dict[str, Callable[[Tensor], object]] = {
        "plain": vit,
        **{f"branch {width}": partial(model, attention="none") for width, model in models.items()},
        "everything": models[default],
    }
    # Of a batch of 1, several passes at a time: one is too short to be timed.
    passes = max(1, 8 // batch)

    def seconds(name: str) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            for _ in range(passes):
                variants[name](images)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    ratios = ratios_in_turn({name: partial(seconds, name) for name in variants}, rounds)
    return {name: round(ratio, 4) for name, ratio in ratios.items() if name != "plain"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--backbones", default="vit_tiny_patch16_224,vit_small_patch16_224", help="timm names a,b"
    )
    parser.add_argument("--img-size", type=int, default=224)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    figures = {
        backbone: {
            str(batch): measure(backbone, options.img_size, batch, options.rounds, device)
            for batch in (1, 32)
        }
        for backbone in options.backbones.split(",")
    }
    tell(figures, options.json)


if __name__ == "__main__":
    main()
