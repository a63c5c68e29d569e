"""Where does the wall time of the demo's training loop go?

Trains the demo's settings for some hundred steps with clocks around what is called: `forward`
(masks, the model and its losses), `backward` and `optimiser` (with the clipping of gradients) are
the training; `loading`, `checkpoints`, `logging` and what is left, `loop`, the rest.
`validation`, whose time is forward passes of its own, is counted apart: `training_share` leaves it
out, `training_share_of_all` counts it among the rest.

    python benchmarks/demo_profile.py --json benchmarks/results/demo_profile.json
"""

from __future__ import annotations

from iavit import _torchvision  # isort: skip # noqa: F401 - before lightning, which imports it

import argparse
import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
from lightning.pytorch.loops.fetchers import _PrefetchDataFetcher
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.trainer.connectors.logger_connector.logger_connector import (
    _LoggerConnector,
)
from results import tell
from rich.console import Console

from iavit.config import PRESETS
from iavit.training import task
from iavit.training.run import train

TRAINING = ("forward", "backward", "optimiser")


class Clock:
    """Seconds by part; what a part calls of another part is not its own.

    Within validation, only checkpoints are another part.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.parts: list[str] = []  # that are going on, the innermost last
        self.inner: list[float] = []  # seconds of other parts in each

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        if "validation" in self.parts and part != "checkpoints":
            yield
            return
        self.parts.append(part)
        self.inner.append(0.0)
        started = time.perf_counter()
        try:
            yield
        finally:
            whole = time.perf_counter() - started
            own = whole - self.inner.pop()
            self.parts.pop()
            self.seconds[part] = self.seconds.get(part, 0.0) + own
            if self.inner:
                self.inner[-1] += whole

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self.on(part):
                return function(*args, **kwargs)

        return called


# What is called, and the part that it belongs to.
WATCHED: list[tuple[Any, str, str]] = [
    (Trainer, "_run_stage", "loop"),
    (task, "objective_terms", "forward"),
    (LightningModule, "backward", "backward"),
    (torch.optim.AdamW, "step", "optimiser"),
    (torch.optim.AdamW, "zero_grad", "optimiser"),
    (LightningModule, "configure_gradient_clipping", "optimiser"),
    (_PrefetchDataFetcher, "__next__", "loading"),
    (Strategy, "batch_to_device", "loading"),
    (ModelCheckpoint, "_save_checkpoint", "checkpoints"),
    (task.Task, "_log", "logging"),
    (_LoggerConnector, "on_batch_end", "logging"),
    (_LoggerConnector, "update_train_step_metrics", "logging"),
    (_LoggerConnector, "log_metrics", "logging"),
    (_EvaluationLoop, "run", "validation"),
]


def profile(steps: int) -> dict[str, Any]:
    """Milliseconds and shares by part."""
    clock = Clock()
    demo = PRESETS["digits"]
    config = replace(demo, training=replace(demo.training, steps=steps))
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        for owner, name, part in WATCHED:
            timed = clock.timed(part, getattr(owner, name))
            stack.enter_context(mock.patch.object(owner, name, timed))
        train(config, Path(folder) / "run", console=Console(quiet=True))
    return shares(clock.seconds, steps)


def shares(seconds: dict[str, float], steps: int) -> dict[str, Any]:
    """Milliseconds a step by part, and the share that is training."""
    training = sum(seconds[part] for part in TRAINING)
    everything = sum(seconds.values())
    return {
        "steps": steps,
        "milliseconds_a_step": {
            part: round(1e3 * taken / steps, 3) for part, taken in sorted(seconds.items())
        },
        "training_share": round(training / (everything - seconds["validation"]), 4),
        "training_share_of_all": round(training / everything, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--steps", type=int, default=500)
    options = parser.parse_args()
    tell(profile(options.steps), options.json)


if __name__ == "__main__":
    main()
