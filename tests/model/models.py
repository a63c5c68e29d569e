"""A small convolutional classifier, and the files that it is written to."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

CLASSES, SIZE = 3, 16


def convolutional(classes: int = CLASSES) -> nn.Sequential:
    """With batch statistics and dropout, which only evaluation leaves alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(32, classes),
        )


def pictures(count: int = 12, size: int = SIZE) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def script(model: nn.Module, path: Path) -> Path:
    """Written as a compiled program."""
    return _written(torch.jit.script, path, model)


def trace(model: nn.Module, path: Path, size: int = SIZE) -> Path:
    """Written as what it does to two images."""
    return _written(torch.jit.trace, path, model, pictures(2, size))


def export(model: nn.Module, path: Path, size: int = SIZE) -> Path:
    """Written as a graph, for any number of images."""
    batch = ({0: torch.export.Dim.AUTO},)
    program = torch.export.export(model, (pictures(2, size),), dynamic_shapes=batch)
    torch.export.save(program, path)
    return path


def _written(compile_: object, path: Path, *given: object) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's on TorchScript itself
        compile_(*given).save(str(path))  # type: ignore[operator]
    return path
