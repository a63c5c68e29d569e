"""What the tests of training ask of a run directory, and a run that is stopped from outside."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from iavit.config import Config
from iavit.training.run import train
from iavit.training.task import Task


class PowerCutError(Exception):
    """What stops a run from outside."""


def stopped_in_step_five(config: Config, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the power is cut."""
    whole = Task.training_step

    def until_step_five(self: Task, batch: Any, batch_idx: int) -> Tensor:
        if self.global_step == 4:
            raise PowerCutError
        return whole(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "training_step", until_step_five)
        with pytest.raises(PowerCutError):
            train(config, folder)


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "model.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))
