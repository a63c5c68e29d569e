"""The baseline that knows nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iavit.model.explainable import explaining
from iavit.types import Explanation


def random(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """Independent uniform values, (B, h, w), drawn from torch's generator of the CPU.

    Every call draws other ones: a map that all images had in common would not be independent
    of where their objects lie. `torch.manual_seed` makes it repeatable.
    """
    with explaining(model, images, targets) as (predictor, images, targets):
        maps = torch.rand(len(images), *predictor.grid).to(images)
    return Explanation(maps, targets, "random")
