"""All that wants a GPU, in one call of a few minutes: tests, ratios, kernels, rates, memory.

Each part runs in a process of its own, for as long as it is given at most; what fails or takes
longer is recorded as such, and the others go on. The JSON file has the device's name and is
written anew after every part, so that a run that is cut off keeps what it has.

    python benchmarks/gpu.py --json benchmarks/results/gpu.json
    python benchmarks/gpu.py --tiny --json /tmp/gpu.json   # all of it in small, on the processor
"""

from __future__ import annotations

from iavit import _torchvision  # isort: skip # noqa: F401 - before timm, which imports it

import argparse
import json
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import explainers
import perturbation
import received
import torch
import train_step
from gpu_steps import attached, compiled_steps, forward_rates, steps_alone
from gpu_tests import run_tests
from results import device_name

from iavit.explain import EXPLAINERS
from iavit.model.iavit import IAViT


@dataclass(frozen=True)
class Scale:
    """How much is run: in full on a GPU, or all of it in small on the processor.

    backbones: the one that the aims are about, and a smaller one. size: pixels a side.
    batch: images of a step. rounds: that a median is taken over.
    """

    device: torch.device
    backbones: tuple[str, str]
    size: int
    batch: int
    rounds: int
    shapes: tuple[tuple[int, int, int, int], ...]
    curve_images: int
    explained: int
    explainers: tuple[str, ...]
    compiler: str  # a backend of torch.compile
    tests: tuple[str, ...]


FULL = Scale(
    device=torch.device("cuda"),
    backbones=("vit_base_patch16_224", "vit_small_patch16_224"),
    size=224,
    batch=64,
    rounds=20,
    shapes=((64, 12, 197, 64), (8, 12, 785, 64), (1, 12, 3137, 64)),
    curve_images=16,
    explained=8,
    explainers=tuple(EXPLAINERS),
    compiler="inductor",
    tests=("tests/test_cuda.py", "tests/model/test_attention.py"),
)
TINY = Scale(
    device=torch.device("cpu"),
    backbones=("vit_tiny_patch16_224", "vit_digits"),
    size=32,
    batch=4,
    rounds=1,
    shapes=((1, 2, 5, 16),),
    curve_images=1,
    explained=1,
    explainers=("interpreter", "contributions", "saliency"),
    compiler="eager",
    tests=("tests/test_cuda.py",),
)


@dataclass(frozen=True)
class Part:
    """What is measured, and for how many seconds at most."""

    measure: Callable[[Scale], Any]
    seconds: float


def machine(scale: Scale) -> dict[str, Any]:
    memory = None
    if scale.device.type == "cuda":
        memory = round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
    return {"device": device_name(), "python": platform.python_version(), "memory_gib": memory}


def step(scale: Scale) -> Any:
    """The paper's joint step over the plain one: the figures that have an aim."""
    arguments = (scale.size, scale.batch, scale.rounds, scale.device, "bf16")
    return {scale.backbones[0]: train_step.measure(scale.backbones[0], *arguments)}


def attention(scale: Scale) -> Any:
    return _received(scale, compiled=False, shapes=scale.shapes)


def attention_compiled(scale: Scale) -> Any:
    return _received(scale, compiled=True, shapes=scale.shapes[:2])


def _received(scale: Scale, *, compiled: bool, shapes: Any) -> dict[str, Any]:
    compared = received.ways(scale.device, compiled=compiled)
    return {
        " x ".join(map(str, shape)): received.measure(
            compared, shape, torch.bfloat16, scale.rounds, scale.device
        )
        for shape in shapes
    }


def engine(scale: Scale) -> Any:
    return perturbation.measure(
        scale.backbones[0],
        scale.size,
        scale.curve_images,
        28,
        min(3, scale.rounds),
        scale.device,
        ["ours", "drop"],
        half=True,
    )


def steps(scale: Scale) -> Any:
    """Milliseconds and memory of steps by recipe, each alone on the device."""
    return {
        name: steps_alone(name, scale.size, scale.batch, scale.rounds, scale.device)
        for name in scale.backbones
    }


def attaching(scale: Scale) -> Any:
    """An interpreter for a classifier that stays as it is, by the call that a person gives."""
    arguments = (scale.size, 2 * scale.batch, scale.batch, 5 * scale.rounds, scale.device)
    return {name: attached(name, *arguments) for name in scale.backbones}


def rates(scale: Scale) -> Any:
    return {
        name: forward_rates(name, scale.size, 4 * scale.batch, scale.rounds, scale.device)
        for name in scale.backbones
    }


def explaining(scale: Scale) -> Any:
    """Every explainer's time over that of a plain forward pass, in float32."""
    torch.manual_seed(0)
    name = scale.backbones[1]
    model = IAViT.create(name, explainers.CLASSES, scale.size).to(scale.device).eval()
    names = list(scale.explainers)
    return {name: explainers.measure(model, scale.size, scale.explained, names, 1, scale.device)}


def compiling(scale: Scale) -> Any:
    name = scale.backbones[1]
    arguments = (scale.size, scale.batch, scale.rounds, scale.device, scale.compiler)
    return {name: compiled_steps(name, *arguments)}


def tests(scale: Scale) -> Any:
    return run_tests(scale.tests)


# In the order of what matters most; what has to be compiled first takes longest, and comes last.
PARTS: dict[str, Part] = {
    "machine": Part(machine, 60),
    "step": Part(step, 90),
    "received": Part(attention, 60),
    "perturbation": Part(engine, 60),
    "steps": Part(steps, 90),
    "attach": Part(attaching, 60),
    "tests": Part(tests, 150),
    "rates": Part(rates, 60),
    "explainers": Part(explaining, 90),
    "compiled": Part(compiling, 150),
    "received_compiled": Part(attention_compiled, 120),
}


def run_part(part: Part, scale: Scale, seconds: float, start: str) -> dict[str, Any]:
    """What a part measured, or its error, and the seconds that it took.

    start: `fork` saves the imports, and works while this process has not touched the GPU; `spawn`.
    """
    context: Any = multiprocessing.get_context(start)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(part, scale, theirs), daemon=False)
    started = time.perf_counter()
    process.start()
    group = process.pid
    assert group
    theirs.close()
    outcome: dict[str, Any] = {"error": f"took more than {seconds:.0f} s"}
    if ours.poll(seconds):
        try:
            outcome = ours.recv()
        except EOFError:
            process.join()
            outcome = {"error": f"the process ended with status {process.exitcode}"}
    with suppress(ProcessLookupError):  # and what it started, if it got as far
        os.killpg(group, signal.SIGKILL)
    process.kill()
    process.join()
    return {**outcome, "seconds": round(time.perf_counter() - started, 1)}


def _measure(part: Part, scale: Scale, connection: Connection) -> None:
    os.setpgid(0, 0)
    try:
        outcome = {"figures": part.measure(scale)}
    except Exception as error:  # whatever it is, the next part can still be measured
        traceback.print_exc()
        outcome = {"error": f"{type(error).__name__}: {error}"[:2000]}
    connection.send(outcome)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, required=True, help="where to write the figures")
    parser.add_argument("--tiny", action="store_true", help="all of it in small, on the processor")
    parser.add_argument("--seconds", type=float, default=460, help="for all parts together")
    parser.add_argument("--only", default=",".join(PARTS), help="parts a,b")
    options = parser.parse_args()
    scale = TINY if options.tiny else FULL
    ends = time.perf_counter() + options.seconds
    start, first = "fork", PARTS["machine"]
    machine = run_part(first, scale, first.seconds, start)
    if "forked" in machine.get("error", ""):  # some import here has asked for the devices
        start = "spawn"
        machine = run_part(first, scale, first.seconds, start)
    if "error" in machine:
        print(f"there is no CUDA device here: {machine['error']}", file=sys.stderr)
        return 2
    found: dict[str, Any] = {"torch": torch.__version__, "machine": machine}
    for name in options.only.split(","):
        if name == "machine":
            continue
        left = ends - time.perf_counter()
        part = PARTS[name]
        if left > 0:
            found[name] = run_part(part, scale, min(part.seconds, left), start)
        else:
            found[name] = {"error": "no time was left", "seconds": 0.0}
        _write(options.json, {machine["figures"]["device"]: found})
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    return (
        1
        if any("error" in figures for figures in found.values() if isinstance(figures, dict))
        else 0
    )


def _write(path: Path, figures: Any) -> None:
    """Whole or not at all: the machine may be gone at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(json.dumps(figures, indent=2) + "\n")
    Path(file.name).replace(path)


if __name__ == "__main__":
    sys.exit(main())
