"""How fast do images come from a folder of JPEG files?

2,000 generated files of 500 x 375, random crops of 5 to 100 % resized to 224 and normalised,
loaded by two processes, in images a second of
- `timm`: timm's own dataset and loader with the same transform, without its GPU prefetcher;
- `folder`: ours, to the same batches of float32;
- `cache_first`, `cache_later`: ours with `--cache`: the first pass, which decodes all files and
  writes the cache, and the passes after it.

Passes take turns; figures are medians over rounds, the first left out, in which processes start
and files come from the disk. Each round makes a cache of its own.

    python benchmarks/loading.py --json benchmarks/results/loading.json
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from results import tell

from iavit.config import Config, DataConfig, ModelConfig, TrainingConfig
from iavit.data.datasets import load_dataset
from iavit.training.datamodule import DataModule

SIZE, WIDTH, HEIGHT = 224, 500, 375
CLASSES = 10
BATCH = 64


def make_files(root: Path, count: int) -> None:
    """Class folders of pictures with large shapes and a little grain: some 50 kB each."""
    generator = np.random.default_rng(0)
    for split, images in (("train", count), ("val", 2 * CLASSES), ("test", 2 * CLASSES)):
        for number in range(images):
            coarse = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            grain = generator.normal(0, 8, (HEIGHT, WIDTH, 1))
            picture = (np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)
            path = root / split / f"class {number % CLASSES}" / f"{number:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path, quality=90)


def ours(root: Path, images: int, workers: int, cache: Path | None) -> Callable[[], Iterable[Any]]:
    """A function that starts a pass over the training images."""
    data = DataConfig(
        "folder",
        str(root),
        BATCH,
        workers,
        augment="authors",
        cache=None if cache is None else str(cache),
    )
    batches = images // BATCH
    training = TrainingConfig(validate_every=batches)
    config = Config(data, ModelConfig(img_size=SIZE), training=training)
    loader = DataModule(load_dataset(config), config, 1000 * batches).train_dataloader()
    return lambda: loader


def timms(root: Path, workers: int) -> Callable[[], Iterable[Any]]:
    """The same of timm's loader."""
    from timm.data import create_dataset, create_loader

    dataset = create_dataset("", root=str(root / "train"), is_training=True)
    loader = create_loader(
        dataset,
        (3, SIZE, SIZE),
        BATCH,
        is_training=True,
        use_prefetcher=False,
        scale=(0.05, 1.0),
        hflip=0.0,
        color_jitter=None,
        interpolation="bilinear",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        num_workers=workers,
        persistent_workers=True,
    )
    return lambda: loader


def seconds_a_pass(start: Callable[[], Iterable[Any]]) -> float:
    """Of a whole pass, every batch received."""
    started = time.perf_counter()
    for _ in start():
        pass
    return time.perf_counter() - started


def measure(root: Path, images: int, workers: int, rounds: int) -> dict[str, float]:
    """Images a second of each, and their ratios."""
    loaded = images // BATCH * BATCH
    passes = {"timm": timms(root, workers), "folder": ours(root, images, workers, None)}
    seconds: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, start in passes.items():
            seconds.setdefault(name, []).append(seconds_a_pass(start))
        folder = root / f"cache {number}"
        started = time.perf_counter()
        cached = ours(root, images, workers, folder)
        seconds_a_pass(cached)
        seconds.setdefault("cache_first", []).append(time.perf_counter() - started)
        seconds.setdefault("cache_later", []).append(seconds_a_pass(cached))
        shutil.rmtree(folder)
    rates = {name: loaded / statistics.median(taken[1:]) for name, taken in seconds.items()}
    figures = {f"{name}_images_per_second": round(rate, 1) for name, rate in rates.items()}
    return figures | {
        "folder_to_timm": round(rates["folder"] / rates["timm"], 3),
        "cache_later_to_first": round(rates["cache_later"] / rates["cache_first"], 3),
        "cache_later_to_folder": round(rates["cache_later"] / rates["folder"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), options.images)
        figures = measure(Path(folder), options.images, options.workers, options.rounds)
    tell(figures, options.json)


if __name__ == "__main__":
    main()
