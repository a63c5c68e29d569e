"""What the objective adds to a training step.

A step (forward, backward, clipping, optimiser) of a plain classifier over that of
- the paper's three terms, asked of the whole model at once (`--objective paper`);
- the default's second stage, and `iavit attach`: the interpreter and its branch alone, beside a
  predictor that is frozen.
The median over interleaved rounds. A run by default has as many steps of the second stage as of the
first, in which a plain classifier is trained: its mean is the last figure.

    python benchmarks/objective.py --json benchmarks/results/objective.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from results import ratios_in_turn, tell

from iavit.config import RECIPES, TrainingConfig
from iavit.model.iavit import IAViT
from iavit.objective.step import objective_terms

CLASSES = 10
# Pixels a side, batch.
SETUPS = {
    "vit_digits": (32, 48),
    "vit_photos": (32, 64),
    "vit_tiny_patch16_224": (224, 8),
    "vit_small_patch16_224": (224, 8),
}
VARIANTS = {"plain": "plain", "paper": "paper", "interpreter": "faithful"}  # name to recipe


def stepper(backbone: str, variant: str, steps: int) -> Callable[[], float]:
    """A function that takes so many steps and returns their seconds."""
    size, batch = SETUPS[backbone]
    alone = variant == "interpreter"
    torch.manual_seed(0)
    model = IAViT.create(backbone, CLASSES, size, branch_width=None if alone else 0).train()
    if alone:
        model.extractor.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    images = torch.randn(batch, 3, size, size)
    labels = None if alone else torch.randint(CLASSES, (batch,))
    objective = RECIPES[VARIANTS[variant]]

    def run() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            loss = objective_terms(model, images, labels, objective)["loss"]
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, TrainingConfig().clip)
            optimizer.step()
        return time.perf_counter() - started

    return run


def measure(backbone: str, rounds: int, steps: int) -> dict[str, float]:
    """Variant to its step's time over the plain one's, and the mean over a run by default."""
    variants = {name: stepper(backbone, name, steps) for name in VARIANTS}
    ratios = {name: round(ratio, 3) for name, ratio in ratios_in_turn(variants, rounds).items()}
    return {**ratios, "run by default": round((1 + ratios["interpreter"]) / 2, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="in each round")
    parser.add_argument("--backbones", default=",".join(SETUPS), help="of the setups, a,b")
    options = parser.parse_args()
    names = options.backbones.split(",")
    tell({name: measure(name, options.rounds, options.steps) for name in names}, options.json)


if __name__ == "__main__":
    main()
