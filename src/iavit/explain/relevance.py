"""Explanations by relevance that is handed back through every layer (layer-wise relevance, LRP)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from iavit.explain.attention_gradient import followed_back, map_gradients
from iavit.explain.lrp import Relevance
from iavit.explain.recording import in_chunks, on_grid, record, target_logits
from iavit.model.explainable import looking_inside
from iavit.model.extractor import Extractor
from iavit.model.pooling import pooling_weights
from iavit.types import Explanation


def transformer_attribution(
    model: nn.Module, images: Tensor, targets: Tensor, *, first_layer: int = 0
) -> Explanation:
    """Relevance of attention, weighted by its gradient, followed back, (B, h, w).

    Relevance 1 of the target's logit is handed back through every layer by the rules of
    `Relevance`. With `R_l` what reaches layer l's map and `dy/dA_l` the gradient on it,
    `E_l = mean_h (dy/dA_l R_l)^+`, and what the head reads of `(I + E_L) ... (I + E_1)` is the
    explanation.

    first_layer: the earliest layer of the product, from 0. The authors' published evaluation
        leaves the first one out: 1.

    Raises `UserError` for a transformer with a step that there is no rule for.

    Source: Chefer, Gur, Wolf, CVPR 2021, equations 3 to 14.
    """

    def over_tokens(extractor: Extractor, chunk: Tensor, chosen: Tensor) -> Tensor:
        recording, logits = record(extractor, chunk)
        gradients = map_gradients(recording, target_logits(logits, chosen))
        read = pooling_weights(extractor.backbone, recording.tokens)
        weights = [
            (relevance * gradient).relu().mean(dim=1)
            for relevance, gradient in zip(
                relevance_of_maps(extractor, chunk, chosen)[0], gradients, strict=True
            )
        ]
        return followed_back(weights[first_layer:], read)

    return _explanation(model, images, targets, over_tokens, "transformer_attribution")


def partial_lrp(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """The positive relevance of the last layer's attention to each patch, (B, h, w).

    `sum_q mean_h (R_L)^+[q, k]` for patch k: relevance goes back to the last layer's heads and
    no further. With a class token, only its row has any.

    Raises `UserError` for a transformer with a step that there is no rule for.

    Source: Voita, Talbot, Moiseev et al., ACL 2019, section 4, as a map as Chefer et al., CVPR
    2021, compare with it. The rules are those of `Relevance`, as for `transformer_attribution`,
    where their published comparison runs it on the older rules of their separate baseline.
    """

    def over_tokens(extractor: Extractor, chunk: Tensor, chosen: Tensor) -> Tensor:
        relevance = relevance_of_maps(extractor, chunk, chosen)[0][-1]  # (B, heads, T, T)
        return relevance.relu().mean(dim=1).sum(dim=1)

    return _explanation(model, images, targets, over_tokens, "partial_lrp")


def relevance_of_maps(
    extractor: Extractor, images: Tensor, targets: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The relevance of every layer's map, (B, heads, T, T), and of the tokens entering the first.

    The latter, (B, T, D), adds up to 1 an image: what the rules hand back is what came in.
    """
    with Relevance() as rules:
        recording, logits = record(extractor, images)
    maps = rules.maps[: len(recording.attentions)]  # what follows belongs to attention pooling
    start = F.one_hot(targets, logits.shape[1]).to(logits)  # (B, C)
    *map_relevance, token_relevance = torch.autograd.grad(
        logits, [*maps, recording.entered[0]], grad_outputs=start
    )
    return map_relevance, token_relevance


def _explanation(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    over_tokens: Callable[[Extractor, Tensor, Tensor], Tensor],
    method: str,
) -> Explanation:
    """`over_tokens` gives (B, T) over all tokens of a chunk of the images."""
    with looking_inside(model, images, targets) as (extractor, images, targets):

        def over_patches(chunk: Tensor, chosen: Tensor) -> Tensor:
            return on_grid(extractor, over_tokens(extractor, chunk, chosen))

        maps = in_chunks(extractor, images, targets, over_patches)
    return Explanation(maps, targets, method)
