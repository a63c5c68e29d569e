"""How benchmarks compare times, and their figures under the name of the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def device_name() -> str:
    """The GPU, or the processor and its cores."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} cores, {_processor()}"


def ratios_in_turn(variants: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Times of variants, in seconds as each returns them, over that of the first one.

    In each round all take a turn, another one first, and are divided by the first one's time in
    that round; the median over rounds is returned. So a slow spell of the machine, which lasts
    for rounds, meets both sides of a ratio. A round before them warms up.
    """
    names = list(variants)
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        shift = number % len(names)
        taken = {name: variants[name]() for name in (*names[shift:], *names[:shift])}
        if number:
            for name in names:
                ratios[name].append(taken[name] / taken[names[0]])
    return {name: statistics.median(values) for name, values in ratios.items()}


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
