"""Does the map lie on the pixels that decide the label, or on those that give it away?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation, Score


def pointing_game(model: IAViT, batch: Batch, explanation: Explanation) -> Score:
    """1 where the map's maximum lies on the evidence, else 0; NaN without any evidence.

    A map on the patch grid is first resized to the pixels, bilinearly, as is usual. Equal maxima
    share the answer: the value is the part of them on the evidence, which is what drawing one at
    random gives on average.

    Source: Zhang et al., ECCV 2016, without the tolerance of 15 pixels.
    """
    evidence = _evidence(batch)
    maps = F.interpolate(
        explanation.maps[:, None].double(), evidence.shape[-2:], mode="bilinear"
    ).flatten(1)  # (B, H * W)
    largest = maps.max(dim=1, keepdim=True).values
    spread = largest - maps.min(dim=1, keepdim=True).values
    highest = maps >= largest - 1e-9 * (spread + largest.abs())  # equal but for rounding
    share = (highest & evidence.flatten(1)).sum(dim=1) / highest.sum(dim=1)
    return Score(_where_present(evidence, share), "pointing_game", "higher")


def evidence_mass(model: IAViT, batch: Batch, explanation: Explanation) -> Score:
    """The part of the map's positive mass that lies on the evidence, from 0 to 1.

    A patch partly on the evidence counts with the part of its area. NaN without any evidence;
    0 for a map without positive values.
    """
    mass = _mass_on(_evidence(batch), explanation.maps)
    return Score(mass, "evidence_mass", "higher")


def shortcut_mass(model: IAViT, batch: Batch, explanation: Explanation) -> Score:
    """The same of the mark that gives the label away: lower is better of an honest model.

    A map that lies on the mark is no fault of the explainer where the model does look at it.
    """
    if batch.shortcut is None:
        raise ValueError("the shortcut's mass needs a batch with its marks")
    return Score(_mass_on(batch.shortcut, explanation.maps), "shortcut_mass", "lower")


def _mass_on(region: Tensor, maps: Tensor) -> Tensor:
    """(B,) shares of the maps' positive mass on (B, H, W) bool regions; NaN without a region."""
    positive = maps.clamp_min(0)
    covered = F.interpolate(region[:, None].to(positive.dtype), positive.shape[-2:], mode="area")[
        :, 0
    ]
    total = positive.sum(dim=(1, 2))
    mass = (positive * covered).sum(dim=(1, 2)) / total.clamp_min(torch.finfo(total.dtype).tiny)
    return _where_present(region, mass)


def _evidence(batch: Batch) -> Tensor:
    if batch.evidence is None:
        raise ValueError("localisation needs a batch with evidence")
    return batch.evidence


def _where_present(region: Tensor, values: Tensor) -> Tensor:
    present = region.flatten(1).any(dim=1)
    return values.float().masked_fill(~present, float("nan"))
