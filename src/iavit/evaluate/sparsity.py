"""How few patches a map points at."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iavit.masking.engine import on_units
from iavit.model.explainable import predictor_of
from iavit.types import Batch, Explanation


def sparsity(model: nn.Module, batch: Batch, explanation: Explanation) -> Tensor:
    """The Gini index of the map's absolute values: 0 all equal, towards 1 all on one patch.

    Over the N patches of the model's grid, to which a map in pixels is averaged: the index of a
    map in pixels says more about its resolution than about what it points at. 0 for a map of
    zeros. Says nothing about being right: a wrong map may be as sparse.

    Source: Chalasani et al., ICML 2020 (Hurley and Rickard 2009).
    """
    grid = predictor_of(model).grid
    on_patches = on_units(explanation.maps, grid).flatten(1)
    return gini(on_patches.abs()).float()


def gini(values: Tensor) -> Tensor:
    """The Gini index of each row of (B, N) values of 0 or more, (B,)."""
    count = values.shape[1]
    ascending = values.sort(dim=1).values
    weights = 2 * torch.arange(1, count + 1, device=values.device) - count - 1
    total = values.sum(dim=1)
    index = (ascending * weights).sum(dim=1) / (count * total)
    return torch.where(total > 0, index, 0.0)
