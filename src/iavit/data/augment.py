"""Random views of training images, the same ones whenever a run is repeated or resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

Name = Literal["none", "light", "authors", "modern"]
Augment = Callable[[Image.Image | Tensor], Tensor]


@dataclass(frozen=True)
class Draw:
    """A training batch: which images, and the seed of what is drawn for their views."""

    indices: list[int]
    seed: int


def augmentation(name: Name, size: int) -> Augment | None:
    """From an RGB picture, or pixels (3, H, W) uint8, to pixels (3, size, size) uint8.

    `light`: moved by up to an eighth of the side, mirrored or not, as small pictures are trained
    on (He et al., CVPR 2016, section 4.2). `authors`: a crop of 5 to 100 % of the area, as in the
    authors' notebooks. `modern`: a crop of 8 to 100 %, mirrored or not, then two operations of
    RandAugment (Cubuk et al., 2020).
    """
    if name == "none":
        return None
    if name == "light":
        steps: list[v2.Transform] = [
            v2.Resize(size),
            v2.RandomCrop(size, padding=size // 8, pad_if_needed=True, padding_mode="reflect"),
            v2.RandomHorizontalFlip(),
        ]
    elif name == "authors":
        steps = [v2.RandomResizedCrop(size, scale=(0.05, 1.0))]
    else:
        bicubic = v2.InterpolationMode.BICUBIC
        steps = [
            v2.RandomResizedCrop(size, scale=(0.08, 1.0), interpolation=bicubic),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(num_ops=2, magnitude=9),
        ]
    view: Augment = v2.Compose([*steps, v2.PILToTensor()])
    return view


def augmented(
    pictures: Iterable[Image.Image | Tensor], indices: Iterable[int], augment: Augment, seed: int
) -> list[Tensor]:
    """Views (3, size, size) uint8 of pictures; each depends on seed and index alone."""
    views = []
    with torch.random.fork_rng(devices=[]):  # the caller's stream goes on as if nothing was drawn
        for picture, index in zip(pictures, indices, strict=True):
            state = np.random.SeedSequence((seed, index)).generate_state(1)
            torch.default_generator.manual_seed(int(state[0]))
            views.append(augment(picture).contiguous())
    return views
