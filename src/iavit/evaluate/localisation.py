"""Does the map lie on the pixels that decide the label, or on those that give it away?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iavit.types import Batch, Explanation


def pointing_game(model: nn.Module, batch: Batch, explanation: Explanation) -> Tensor:
    """1 where the map's maximum lies on the evidence, else 0; NaN without any evidence.

    A map on the patch grid is first resized to the pixels, bilinearly, as is usual. Equal maxima
    share the answer: the value is the part of them on the evidence, which is what drawing one at
    random gives on average.

    Source: Zhang et al., ECCV 2016, without the tolerance of 15 pixels.
    """
    evidence = _evidence(batch)
    maps, rounding = _in_pixels(explanation.maps, evidence)
    highest = maps >= maps.max(dim=1, keepdim=True).values - rounding
    share = (highest & evidence.flatten(1)).sum(dim=1) / highest.sum(dim=1)
    return _where_present(evidence, share)


def relevance_rank_accuracy(model: nn.Module, batch: Batch, explanation: Explanation) -> Tensor:
    """The part of the K highest pixels that is on the evidence, which has K pixels; 0 to 1.

    Resized as for the pointing game; of pixels equal to the K-th highest, a share is counted,
    as drawing among them gives on average. NaN without any evidence.

    Source: Arras et al., Information Fusion 2022 (CLEVR-XAI).
    """
    evidence = _evidence(batch)
    maps, rounding = _in_pixels(explanation.maps, evidence)
    on = evidence.flatten(1)
    wanted = on.sum(dim=1, keepdim=True)  # K, (B, 1)
    last = maps.sort(dim=1, descending=True).values.gather(1, (wanted - 1).clamp_min(0))
    above = maps > last + rounding
    equal = (maps - last).abs() <= rounding
    drawn = (wanted - above.sum(dim=1, keepdim=True)) / equal.sum(dim=1, keepdim=True)
    hits = ((above + equal * drawn) * on).sum(dim=1, keepdim=True)
    accuracy = (hits / wanted)[:, 0]
    return _where_present(evidence, accuracy)


def evidence_mass(model: nn.Module, batch: Batch, explanation: Explanation) -> Tensor:
    """The part of the map's positive mass that lies on the evidence, from 0 to 1.

    A patch partly on the evidence counts with the part of its area. NaN without any evidence;
    0 for a map without positive values.
    """
    return _mass_on(_evidence(batch), explanation.maps)


def shortcut_mass(model: nn.Module, batch: Batch, explanation: Explanation) -> Tensor:
    """The same of the mark that gives the label away: lower is better of an honest model.

    A map that lies on the mark is no fault of the explainer where the model does look at it.
    """
    if batch.shortcut is None:
        raise ValueError("the shortcut's mass needs a batch with its marks")
    return _mass_on(batch.shortcut, explanation.maps)


def _in_pixels(maps: Tensor, evidence: Tensor) -> tuple[Tensor, Tensor]:
    """Maps resized to the evidence's (B, H * W), and what counts as equal in each, (B, 1)."""
    resized = F.interpolate(maps[:, None].double(), evidence.shape[1:], mode="bilinear")
    pixels = resized.flatten(1)
    largest = pixels.max(dim=1, keepdim=True).values
    spread = largest - pixels.min(dim=1, keepdim=True).values
    return pixels, 1e-9 * (spread + largest.abs())


def _mass_on(region: Tensor, maps: Tensor) -> Tensor:
    """(B,) shares of the maps' positive mass on (B, H, W) bool regions; NaN without a region."""
    positive = maps.clamp_min(0)
    covered = F.interpolate(region[:, None].to(positive.dtype), positive.shape[1:], mode="area")[
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
