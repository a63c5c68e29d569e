"""Models whose answers can be computed by hand, and every measure of two curves."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from iavit.evaluate import faithfulness
from iavit.evaluate.faithfulness import Curves


def additive(grid: tuple[int, int], side: int) -> VisionTransformer:
    """No blocks: the logit of class 0 is the sum over patches of each one's mean, in float64.

    That of class 1 is its negative, so the probability of class 0 is `sigmoid(2 * sum)`.
    grid: (h, w) patches of `side` pixels a side.
    """
    vit = VisionTransformer(
        img_size=(grid[0] * side, grid[1] * side),
        patch_size=side,
        embed_dim=2,
        depth=0,
        num_heads=1,
        num_classes=2,
        class_token=False,
        global_pool="avg",
        pos_embed="none",
        final_norm=False,
        fc_norm=False,
    ).double()
    with torch.no_grad():
        vit.patch_embed.proj.weight.fill_(1 / (3 * side * side))
        vit.patch_embed.proj.bias.zero_()
        vit.head.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]) * grid[0] * grid[1])
        vit.head.bias.zero_()
    return vit.eval()


def painted(values: torch.Tensor, side: int) -> torch.Tensor:
    """Images (B, 3, H, W) of which each patch has one brightness: values (B, h, w)."""
    pixels = values.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)
    return pixels[:, None].expand(-1, 3, -1, -1).clone()


def read_off(curves: Curves) -> dict[str, Tensor]:
    """Measure to values (B,), of those that are read off the curves."""
    return {
        "deletion": faithfulness.deletion(curves),
        "insertion": faithfulness.insertion(curves),
        "difference": faithfulness.difference(curves),
        "symmetric_relevance_gain": faithfulness.symmetric_relevance_gain(curves),
        "positive_perturbation": faithfulness.positive_perturbation(curves),
        "negative_perturbation": faithfulness.negative_perturbation(curves),
        "sufficiency": faithfulness.sufficiency(curves),
        "comprehensiveness": faithfulness.comprehensiveness(curves),
    }
