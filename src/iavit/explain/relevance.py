"""Explanations by relevance that is handed back through every layer (layer-wise relevance, LRP)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iavit.explain.attention_gradient import followed_back, map_gradients
from iavit.explain.parts import in_parts, on_grid, walk
from iavit.explain.rules import Relevance
from iavit.model.explainable import explaining
from iavit.model.extractor import Extractor
from iavit.model.pooling import readout
from iavit.types import Explanation


def transformer_attribution(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """Relevance of attention, weighted by its gradient, followed back, (B, h, w).

    Relevance 1 of the target's logit is handed back through every layer by the rules of
    `Relevance`. With `R_l` what reaches layer l's map and `dy/dA_l` the gradient on it,
    `E_l = mean_h (dy/dA_l R_l)^+`, and what the head reads of `(I + E_L) ... (I + E_1)` is the
    explanation.

    Raises `UserError` for a transformer with a step that there is no rule for.

    Source: Chefer, Gur, Wolf, CVPR 2021, equations 3 to 14.
    """

    def of_part(extractor: Extractor, part: Tensor, chosen: Tensor) -> Tensor:
        way = walk(extractor, part)
        gradients = map_gradients(way, chosen)
        read = readout(extractor.backbone, way.tokens.detach())
        weights = [
            (relevance * gradient).relu().mean(dim=1)
            for relevance, gradient in zip(
                relevance_of_maps(extractor, part, chosen)[0], gradients, strict=True
            )
        ]
        return followed_back(weights, read)

    return _explanation(model, images, targets, of_part, "transformer_attribution")


def partial_lrp(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """The positive relevance of the last layer's attention to each patch, (B, h, w).

    `sum_q mean_h (R_L)^+[q, k]` for patch k: relevance goes back to the last layer's heads and
    no further. With a class token, only its row has any.

    Raises `UserError` for a transformer with a step that there is no rule for.

    Source: Voita, Talbot, Moiseev et al., ACL 2019, section 4, with the rules, and as a map, as
    Chefer et al., CVPR 2021, compare with it.
    """

    def of_part(extractor: Extractor, part: Tensor, chosen: Tensor) -> Tensor:
        relevance = relevance_of_maps(extractor, part, chosen)[0][-1]  # (B, heads, T, T)
        return relevance.relu().mean(dim=1).sum(dim=1)

    return _explanation(model, images, targets, of_part, "partial_lrp")


def relevance_of_maps(
    extractor: Extractor, images: Tensor, targets: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The relevance of every layer's map, (B, heads, T, T), and of the tokens entering the first.

    The latter, (B, T, D), adds up to 1 an image: what the rules hand back is what came in.
    """
    images = images.detach()
    with Relevance() as rules:
        way = walk(extractor, images)
    maps = rules.maps[: len(way.seen)]  # what follows belongs to attention pooling
    start = F.one_hot(targets, way.logits.shape[1]).to(way.logits)  # (B, C)
    *relevance, of_tokens = torch.autograd.grad(
        way.logits, [*maps, way.entered[0]], grad_outputs=start
    )
    return relevance, of_tokens


def _explanation(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    of_part: Callable[[Extractor, Tensor, Tensor], Tensor],
    method: str,
) -> Explanation:
    """`of_part` gives (B, T) over all tokens of a part of the images."""
    with explaining(model, images, targets) as extractor:

        def over_patches(part: Tensor, chosen: Tensor) -> Tensor:
            return on_grid(extractor, of_part(extractor, part, chosen))

        maps = in_parts(extractor, images, targets, over_patches)
    return Explanation(maps, targets, method)
