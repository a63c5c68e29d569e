"""Every check and benchmark that wants a GPU, in one call.

First the tests that are left out without a GPU, then the figures of docs/training-cost.md:
ViT-B/16, batch 64, bf16. JSON lands in the folder named, one file a script; exits with the first
status that is not 0.

    python benchmarks/gpu.py --output benchmarks/results/gpu
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
BACKBONE = "vit_base_patch16_224"


def commands(output: Path) -> list[list[str]]:
    """What is run, in this order."""

    def script(name: str, *options: str) -> list[str]:
        json = output / f"{name}.json"
        return [sys.executable, str(HERE / f"{name}.py"), "--json", str(json), *options]

    step = ("--backbones", BACKBONE, "--batch-size", "64", "--precision", "bf16")
    return [
        [sys.executable, "-m", "pytest", "-q", "-k", "cuda", str(HERE.parent / "tests")],
        script("received"),
        script("train_step", *step, "--rounds", "30"),
        script("predict", "--backbones", BACKBONE, "--rounds", "30"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "gpu")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no CUDA device here: nothing was checked", file=sys.stderr)
        return 2
    for command in commands(options.output):
        print("+", *command, flush=True)
        status = subprocess.run(command, check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
