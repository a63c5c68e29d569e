"""How much memory does a run of a folder take, and what of it is the number of images?

Peak resident memory of `iavit train` on 96-pixel pictures that are made here, in both stages of the
default recipe, float32 on the processor, a process for each row: two steps and a validation of
each stage, which touch all that a run ever holds.

    python benchmarks/run_memory.py --json benchmarks/results/run_memory.json
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from results import tell

SIDE = 96  # pixels of a picture
ROWS = (  # backbone, pixels a side, images of a step, images of the folder
    ("vit_digits", 64, 64, 400),
    ("vit_digits", 64, 64, 6000),
    ("vit_tiny_patch16_224", 224, 8, 400),
    ("vit_small_patch16_224", 96, 64, 400),
    ("vit_small_patch16_224", 224, 8, 400),
    ("vit_small_patch16_224", 224, 16, 400),
)
TRAIN = "train --data folder --steps 2 --interpreter-steps 2 --validate-every 2 --accelerator cpu"


def pictures(root: Path, count: int) -> None:
    """So many JPEG and PNG files of noise, in four classes."""
    generator = np.random.default_rng(0)
    for number in range(count):
        place = root / f"class{number % 4}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.{'png' if number % 8 < 4 else 'jpg'}")


def peak(backbone: str, size: int, batch: int, root: Path, output: Path) -> float:
    """GiB."""
    command = [sys.executable, "-m", "iavit", *TRAIN.split(), "--backbone", backbone]
    command += ["--img-size", str(size), "--batch-size", str(batch)]
    command += ["--root", str(root), "--output", str(output)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        raise SystemExit(f"{command} ended with {run.returncode}")
    return round(used.ru_maxrss / 2**20, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as name:
        for number, (backbone, size, batch, count) in enumerate(ROWS):
            root = Path(name) / f"of-{count}"
            if not root.is_dir():
                pictures(root, count)
            gib = peak(backbone, size, batch, root, Path(name) / f"run-{number}")
            found.append(
                {"backbone": backbone, "size": size, "batch": batch, "images": count, "gib": gib}
            )
            print(found[-1], flush=True)
    tell(found, options.json)


if __name__ == "__main__":
    main()
