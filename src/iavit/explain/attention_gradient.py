"""Explanations by attention and the gradient of the target's logit `y` on it.

The gradient on a layer's map is had from that on its context, `dy/dA = (dy/d(A V)) V^T`, so the
forward pass keeps its fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from iavit.explain.parts import Walk, in_parts, of_targets, on_grid, walk
from iavit.model.blocks import Seen
from iavit.model.explainable import explaining
from iavit.model.extractor import Extractor
from iavit.model.pooling import readout
from iavit.types import Explanation


def attgrads(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """Attention times its gradient, what each patch receives of it, (B, h, w), signed.

    `sum_q mean_(l, h) A[q, k] dy/dA[q, k]` for patch k: to first order, what the target's logit
    would lose if nothing attended to the patch. With a class token, only its row counts in the
    last layer, as nothing else is read there.

    Source: "AttGrads" of arXiv 2309.08035, after Barkan, Hauon, Caciularu et al., CIKM 2021. The
    authors' notebooks compute the product and then overwrite it by the attention; here it is
    used.
    """

    def of_part(extractor: Extractor, way: Walk, chosen: Tensor) -> Tensor:
        total = torch.zeros(way.tokens.shape[:2]).to(way.tokens)
        for attention, gradient in _maps(way, chosen):
            total += (attention * gradient).mean(dim=1).sum(dim=1)  # heads, queries
        return total / len(way.seen)

    return _explanation(model, images, targets, of_part, "attgrads", signed=True)


def attcam(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """Class activation tokens, weighted by the attention that they receive, (B, h, w), signed.

    `sum_l a_l[k] sum_d z_l[k, d] dy/dz_l[k, d]` for patch k, where `z_l` are the tokens that
    enter layer l and `a_l[k]` is the mean over heads and queries of `A_l[., k]`.

    Source: Qiang, Pan, Li et al., AttCAT, NeurIPS 2022; which tokens, and the mean over queries,
    as in code that follows the authors'.
    """

    def of_part(extractor: Extractor, way: Walk, chosen: Tensor) -> Tensor:
        gradients = torch.autograd.grad(of_targets(way.logits, chosen).sum(), way.entered)
        side_by_side = len(way.seen) // len(way.entered)  # attention layers of a block
        total = torch.zeros(way.tokens.shape[:2]).to(way.tokens)
        for at, seen in enumerate(way.seen):
            tokens = way.entered[at // side_by_side].detach()
            activation = (tokens * gradients[at // side_by_side]).sum(dim=-1)  # (B, T)
            total += activation * _detached_map(seen).mean(dim=(1, 2))
        return total

    return _explanation(model, images, targets, of_part, "attcam", signed=True)


def generic_attention(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """Attention weighted by its gradient, followed back to what the head reads, (B, h, w).

    `R = I` at first, then `R <- R + E R` layer after layer with `E` the mean over heads of
    `(dy/dA A)^+`; the rows of `R` that the head reads (`readout`) are the explanation.

    Source: Chefer, Gur, Wolf, ICCV 2021, equations 5 and 6.
    """

    def of_part(extractor: Extractor, way: Walk, chosen: Tensor) -> Tensor:
        weights = [
            (attention * gradient).relu().mean(dim=1) for attention, gradient in _maps(way, chosen)
        ]
        return followed_back(weights, readout(extractor.backbone, way.tokens))

    return _explanation(model, images, targets, of_part, "generic_attention")


def followed_back(layers: list[Tensor], read: Tensor) -> Tensor:
    """`read (I + E_L) ... (I + E_1)`, (B, T), of layers' E (B, T, T) and (B, T) weights."""
    flow = read[:, None]
    for layer in reversed(layers):
        flow = flow + flow @ layer
    return flow[:, 0]


def map_gradients(way: Walk, targets: Tensor) -> list[Tensor]:
    """The gradient of the target's logit on every layer's map, (B, heads, T, T) each."""
    on_contexts = torch.autograd.grad(
        of_targets(way.logits, targets).sum(), [seen.context for seen in way.seen]
    )
    return [
        on_context @ seen.values.detach().transpose(-2, -1)
        for on_context, seen in zip(on_contexts, way.seen, strict=True)
    ]


def _maps(way: Walk, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Every layer's map and the gradient on it."""
    gradients = map_gradients(way, targets)
    return [(_detached_map(seen), of) for seen, of in zip(way.seen, gradients, strict=True)]


def _detached_map(seen: Seen) -> Tensor:
    with torch.no_grad():
        return seen.map()


def _explanation(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    of_part: Callable[[Extractor, Walk, Tensor], Tensor],
    method: str,
    *,
    signed: bool = False,
) -> Explanation:
    """`of_part` gives (B, T) over all tokens of a walk with gradients."""
    with explaining(model, images, targets) as extractor:

        def over_patches(part: Tensor, chosen: Tensor) -> Tensor:
            return on_grid(extractor, of_part(extractor, walk(extractor, part), chosen))

        maps = in_parts(extractor, images, targets, over_patches)
    return Explanation(maps, targets, method, signed=signed)
