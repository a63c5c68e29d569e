"""Does the map depend on what the model has learned at all?"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from iavit.explain import Explainer
from iavit.masking.engine import on_units
from iavit.model.explainable import extractor_of, predictor_of
from iavit.types import Batch, Explanation

ABOVE = ("norm", "fc_norm", "attn_pool", "head", "head_dist")  # timm's names, after the blocks


def randomisation(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    *,
    explain: Explainer,
    seed: int = 0,
) -> Tensor:
    """How like its old self the map stays while the model forgets, mean over the cascade.

    The mean of `similarities` over its stages: 1 for a map that has nothing to do with the
    weights, about 0 for one that is lost with them. NaN where a map is constant.

    explain: the explainer that made the explanation, which is asked again at each stage.

    Source: Adebayo et al., NeurIPS 2018, cascading randomisation.
    """
    found = similarities(model, batch, explanation, explain=explain, seed=seed)
    mean = torch.stack(list(found.values())).mean(dim=0)
    return mean.float()


def similarities(
    model: nn.Module,
    batch: Batch,
    explanation: Explanation,
    *,
    explain: Explainer,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Stage to the rank correlation (B,) of the map with that of the model randomised so far.

    Spearman's correlation over patches. Adebayo et al. also give SSIM, which is left out: its
    windows of 7 to 11 would cover most of a patch grid, and it hangs on how maps are scaled,
    while every measure of faithfulness here reads only their ranks.
    """
    grid = predictor_of(model).grid
    before = on_units(explanation.maps, grid).flatten(1)
    found = {}
    for stage, copy in randomised(model, seed):
        after = on_units(explain(copy, batch.images, explanation.targets).maps, grid).flatten(1)
        found[stage] = spearman(before, after)
    return found


def randomised(model: nn.Module, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """A copy of the model that forgets, from the head down: the same copy after each stage.

    Head, final norm and interpreter together, then block by block, then the embedding. The
    numbers of each parameter are shuffled rather than drawn anew: what was learned is gone, and
    their scale stays, so that a map is not lost merely because activations vanished or grew.
    The model itself is not touched.
    """
    copy = deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for stage, parameters in _stages(copy):
        with torch.no_grad():
            for parameter in parameters:
                order = torch.randperm(parameter.numel(), generator=generator)
                shuffled = parameter.flatten()[order.to(parameter.device)]
                parameter.copy_(shuffled.view_as(parameter))
        yield stage, copy


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's correlation of each row, (B, N) twice to (B,); equal values share a rank."""
    x, y = (ranks - ranks.mean(dim=1, keepdim=True) for ranks in (_ranks(a), _ranks(b)))
    covariance = (x * y).sum(dim=1)
    return covariance / (x.square().sum(dim=1) * y.square().sum(dim=1)).sqrt()  # 0 / 0 is NaN


def _ranks(values: Tensor) -> Tensor:
    """(B, N) ranks from 1, float64, the mean rank for values that are equal."""
    ascending = values.sort(dim=1).values.contiguous()
    below = torch.searchsorted(ascending, values.contiguous())
    up_to = torch.searchsorted(ascending, values.contiguous(), right=True)
    return (below + up_to + 1).double() / 2


def _stages(model: nn.Module) -> Iterator[tuple[str, list[nn.Parameter]]]:
    """Every parameter of the model once, in the order in which they are forgotten."""
    backbone = extractor_of(model).backbone
    blocks = [list(block.parameters()) for block in backbone.blocks]
    in_blocks = {id(parameter) for block in blocks for parameter in block}
    embedding = [
        parameter
        for name, parameter in backbone.named_parameters()
        if name.split(".")[0] not in ABOVE and id(parameter) not in in_blocks
    ]
    later = in_blocks | {id(parameter) for parameter in embedding}
    yield "head", [parameter for parameter in model.parameters() if id(parameter) not in later]
    for number in reversed(range(len(blocks))):
        yield f"block {number}", blocks[number]
    yield "embedding", embedding
