"""A model of three classes, and pictures for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from iavit.handover.classifier import Classifier

CLASSES = ("cat", "dog", "<b>fox</b>")


def picture(seed: int = 0, size: tuple[int, int] = (32, 32)) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(256, size=(*size[::-1], 3), dtype=np.uint8))


def normalised(classifier: Classifier, shown: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(shown)).permute(2, 0, 1)
    return classifier.saved.normalisation.normalise(pixels)[None]


def folder_of_pictures(root: Path) -> Path:
    """Three pictures at two depths, and a file that is none."""
    (root / "deep").mkdir(parents=True)
    picture(0).save(root / "a.png")
    picture(1, (60, 20)).save(root / "b.jpg")
    picture(2).save(root / "deep" / "a.png")
    (root / "notes.txt").write_text("no picture")
    return root
