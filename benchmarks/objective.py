"""What each term of the objective adds to a training step.

A step (forward, backward, clipping, optimiser) of a plain classifier, and of the model with more
and more terms; times over the plain step's, the median over interleaved rounds. By default all but
the labels begin after a quarter of a run: the last figure is the mean over a run.

    python benchmarks/objective.py --json benchmarks/results/objective.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from results import ratios_in_turn, tell

from iavit.config import RECIPES, ObjectiveConfig, TrainingConfig
from iavit.model.iavit import IAViT
from iavit.objective.step import objective_terms

CLASSES = 10
SETUPS = {"vit_digits": (32, 48), "vit_tiny_patch16_224": (224, 8)}  # pixels a side, batch
OBJECTIVES: Mapping[str, ObjectiveConfig] = {
    "plain": RECIPES["plain"],
    "the paper's three terms": RECIPES["paper"],
    "and masked copies": replace(RECIPES["faithful"], path_share=0.0),
    "and the path term": RECIPES["faithful"],
}


def stepper(backbone: str, objective: ObjectiveConfig, steps: int) -> Callable[[], float]:
    """A function that takes so many steps and returns their seconds."""
    size, batch = SETUPS[backbone]
    torch.manual_seed(0)
    model = IAViT.create(backbone, CLASSES, size).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    images, labels = torch.randn(batch, 3, size, size), torch.randint(CLASSES, (batch,))

    def run() -> float:
        started = time.perf_counter()
        for _ in range(steps):
            loss = objective_terms(model, images, labels, objective, progress=1.0)["loss"]
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, TrainingConfig().clip)
            optimizer.step()
        return time.perf_counter() - started

    return run


def measure(backbone: str, rounds: int, steps: int) -> dict[str, float]:
    """Objective to its step's time over the plain one's."""
    variants = {name: stepper(backbone, objective, steps) for name, objective in OBJECTIVES.items()}
    ratios = {name: round(ratio, 3) for name, ratio in ratios_in_turn(variants, rounds).items()}
    early = RECIPES["faithful"].explain_from  # plain steps
    default = early + (1 - early) * ratios["and the path term"]
    return {**ratios, "run by default": round(default, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="in each round")
    options = parser.parse_args()
    found = {name: measure(name, options.rounds, options.steps) for name in SETUPS}
    tell(found, options.json)


if __name__ == "__main__":
    main()
