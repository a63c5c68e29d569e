"""What a run holds: as much as a step takes, whatever the number of images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iavit.config import Config
from iavit.data.datasets import load_dataset
from iavit.training.datamodule import DataModule

TRAIN = (
    "train --data folder --backbone vit_digits --img-size 32 --batch-size 8 --steps 2 "
    "--interpreter-steps 2 --validate-every 2 --accelerator cpu"
)
SIDE = 96
PEAK = """
import resource, sys
from iavit.cli import main
status = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
sys.exit(status)
"""


def pictures(root: Path, count: int) -> Path:
    """So many files of noise, in two classes."""
    generator = np.random.default_rng(0)
    for number in range(count):
        place = root / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.bmp")
    return root


def peak(root: Path, output: Path) -> float:
    """MiB that a process takes which trains on a folder."""
    command = [
        sys.executable,
        "-c",
        PEAK,
        *TRAIN.split(),
        "--root",
        str(root),
        "--output",
        str(output),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_run_holds_no_more_of_many_images_than_of_few(tmp_path: Path) -> None:
    """2,400 decoded pictures are 63 MiB as bytes, and four times that as numbers."""
    few = peak(pictures(tmp_path / "few", 60), tmp_path / "one")
    many = peak(pictures(tmp_path / "many", 2400), tmp_path / "other")
    assert many - few < 30


def test_validation_takes_no_more_images_at_a_time_than_a_step(tiny_config: Config) -> None:
    splits = load_dataset(tiny_config)
    sizes = [len(batch) for batch in DataModule(splits, tiny_config, batches=6).val_dataloader()]
    assert sum(sizes) == len(splits.val)
    assert max(sizes) == tiny_config.data.batch_size
