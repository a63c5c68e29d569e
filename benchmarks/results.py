"""Figures of a benchmark, under the name of the machine that they were taken on."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import torch


def device_name() -> str:
    """The GPU, or the processor and its cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores, {_processor()}"


def tell(figures: Any, path: Path | None) -> None:
    """Print `{device: figures}` as JSON, and write it where a path is given."""
    text = json.dumps({device_name(): figures}, indent=2)
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def _processor() -> str:
    """As Linux names it, else as Python does."""
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
