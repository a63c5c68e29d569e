"""Explanations by attention and the gradient of the target's logit `y` on it.

The gradient on a layer's map is had from that on its context, `dy/dA = (dy/d(A V)) V^T`, so the
forward pass keeps its fused kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from iavit.explain.recording import in_chunks, on_grid, record, target_logits
from iavit.model.blocks import AttentionInputs
from iavit.model.explainable import looking_inside
from iavit.model.extractor import Extractor, Recording
from iavit.model.pooling import pooling_weights
from iavit.types import Explanation

# (B, T) over all tokens, by the extractor, a recorded pass with gradients and the target's logits.
OverTokens = Callable[[Extractor, Recording, Tensor], Tensor]


def attgrads(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """Attention times its gradient, what each patch receives of it, (B, h, w), signed.

    `sum_q mean_(l, h) A[q, k] dy/dA[q, k]` for patch k: to first order, what the target's logit
    would lose if nothing attended to the patch. With a class token, only its row counts in the
    last layer, as nothing else is read there.

    Source: "AttGrads" of arXiv 2309.08035, after Barkan, Hauon, Caciularu et al., CIKM 2021. The
    authors' notebooks compute the product and then overwrite it by the attention; here it is
    used.
    """

    def over_tokens(_: Extractor, recording: Recording, logits: Tensor) -> Tensor:
        total = torch.zeros(recording.tokens.shape[:2]).to(recording.tokens)
        for attention, gradient in _maps(recording, logits):
            total += (attention * gradient).mean(dim=1).sum(dim=1)  # heads, queries
        return total / len(recording.attentions)

    return _explanation(model, images, targets, over_tokens, "attgrads", signed=True)


def attcam(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """Class activation tokens, weighted by the attention that they receive, (B, h, w), signed.

    `sum_l a_l[k] sum_d z_l[k, d] dy/dz_l[k, d]` for patch k, where `z_l` are the tokens that
    enter layer l and `a_l[k]` is the mean over heads and queries of `A_l[., k]`.

    Source: Qiang, Pan, Li et al., AttCAT, NeurIPS 2022; which tokens, and the mean over queries,
    as in code that follows the authors'.
    """

    def over_tokens(_: Extractor, recording: Recording, logits: Tensor) -> Tensor:
        entered, attentions = recording.entered, recording.attentions
        gradients = torch.autograd.grad(logits.sum(), entered)
        side_by_side = len(attentions) // len(entered)  # attention layers of a block
        total = torch.zeros(recording.tokens.shape[:2]).to(recording.tokens)
        for layer, inputs in enumerate(attentions):
            block = layer // side_by_side
            activation = (entered[block] * gradients[block]).sum(dim=2)  # (B, T)
            total += activation * _detached_map(inputs).mean(dim=(1, 2))
        return total

    return _explanation(model, images, targets, over_tokens, "attcam", signed=True)


def generic_attention(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
    """Attention weighted by its gradient, followed back to what the head reads, (B, h, w).

    `R = I` at first, then `R <- R + E R` layer after layer with `E` the mean over heads of
    `(dy/dA A)^+`; the rows of `R` that the head reads (`pooling_weights`) are the explanation.

    Source: Chefer, Gur, Wolf, ICCV 2021, equations 5 and 6.
    """

    def over_tokens(extractor: Extractor, recording: Recording, logits: Tensor) -> Tensor:
        weights = [
            (attention * gradient).relu().mean(dim=1)
            for attention, gradient in _maps(recording, logits)
        ]
        return followed_back(weights, pooling_weights(extractor.backbone, recording.tokens))

    return _explanation(model, images, targets, over_tokens, "generic_attention")


def followed_back(layers: list[Tensor], read: Tensor) -> Tensor:
    """`read (I + E_L) ... (I + E_1)`, (B, T), of layers' E (B, T, T) and (B, T) weights."""
    flow = read[:, None]
    for layer in reversed(layers):
        flow = flow + flow @ layer
    return flow[:, 0]


def map_gradients(recording: Recording, logits: Tensor) -> list[Tensor]:
    """The gradient of the targets' logits (B,) on every layer's map, (B, heads, T, T) each."""
    on_contexts = torch.autograd.grad(
        logits.sum(), [inputs.context for inputs in recording.attentions]
    )
    return [
        on_context @ inputs.values.detach().transpose(-2, -1)
        for on_context, inputs in zip(on_contexts, recording.attentions, strict=True)
    ]


def _maps(recording: Recording, logits: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Every layer's map and the gradient on it."""
    gradients = map_gradients(recording, logits)
    return [
        (_detached_map(inputs), gradient)
        for inputs, gradient in zip(recording.attentions, gradients, strict=True)
    ]


def _detached_map(inputs: AttentionInputs) -> Tensor:
    with torch.no_grad():
        return inputs.map()


def _explanation(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    over_tokens: OverTokens,
    method: str,
    *,
    signed: bool = False,
) -> Explanation:
    with looking_inside(model, images, targets) as (extractor, images, targets):

        def over_patches(chunk: Tensor, chosen: Tensor) -> Tensor:
            recording, logits = record(extractor, chunk)
            chosen_logits = target_logits(logits, chosen)
            return on_grid(extractor, over_tokens(extractor, recording, chosen_logits))

        maps = in_chunks(extractor, images, targets, over_patches)
    return Explanation(maps, targets, method, signed=signed)
