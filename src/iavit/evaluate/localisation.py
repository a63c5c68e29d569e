"""Does the map lie on the pixels that decide the label?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation, Score


def pointing_game(model: IAViT, batch: Batch, explanation: Explanation) -> Score:
    """1 where the map's maximum lies on the evidence, else 0; NaN without any evidence.

    A patch stands for the pixel at its centre. Equal maxima share the answer: the value is the
    part of them on the evidence, which is what drawing one at random gives on average.

    Source: Zhang et al., ECCV 2016, without the tolerance of 15 pixels.
    """
    maps = explanation.maps.flatten(1)  # (B, h * w)
    highest = (maps == maps.max(dim=1, keepdim=True).values).float()
    hits = _at_centres(_evidence(batch), explanation.maps.shape[-2:]).flatten(1)
    share = (highest * hits).sum(dim=1) / highest.sum(dim=1)
    return Score(_where_evident(batch, share), "pointing_game", "higher")


def evidence_mass(model: IAViT, batch: Batch, explanation: Explanation) -> Score:
    """The part of the map's positive mass that lies on the evidence, from 0 to 1.

    A patch partly on the evidence counts with the part of its area. NaN without any evidence;
    0 for a map without positive values.
    """
    positive = explanation.maps.clamp_min(0)
    covered = F.interpolate(
        _evidence(batch)[:, None].to(positive.dtype), positive.shape[-2:], mode="area"
    )[:, 0]
    total = positive.sum(dim=(1, 2))
    mass = (positive * covered).sum(dim=(1, 2)) / total.clamp_min(torch.finfo(total.dtype).tiny)
    return Score(_where_evident(batch, mass), "evidence_mass", "higher")


def _evidence(batch: Batch) -> Tensor:
    if batch.evidence is None:
        raise ValueError("localisation needs a batch with evidence")
    return batch.evidence


def _at_centres(evidence: Tensor, shape: torch.Size) -> Tensor:
    """(B, H, W) evidence to (B, h, w), at the middle pixel of each cell."""
    height, width = evidence.shape[-2:]
    rows = ((torch.arange(shape[0], device=evidence.device) + 0.5) * height / shape[0]).long()
    columns = ((torch.arange(shape[1], device=evidence.device) + 0.5) * width / shape[1]).long()
    return evidence[:, rows][:, :, columns].float()


def _where_evident(batch: Batch, values: Tensor) -> Tensor:
    present = _evidence(batch).flatten(1).any(dim=1)
    return values.float().masked_fill(~present, float("nan"))
