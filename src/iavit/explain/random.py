"""The baseline that knows nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from iavit.model.iavit import IAViT
from iavit.types import Explanation


def random(model: IAViT, images: Tensor, targets: Tensor) -> Explanation:
    """Independent uniform values, (B, h, w), drawn from torch's generator of the CPU."""
    maps = torch.rand(len(images), *model.grid).to(images.device)
    return Explanation(maps, targets, "random")
