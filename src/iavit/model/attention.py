"""Attention received: how much attention each patch is given, beside a fused attention kernel.

The interpreter is aligned with what the extractor's self-attention looks at. Of every layer's
map `P = softmax(Q K^T / sqrt(d) + bias)`, (B, heads, T, T), only the column means over the patch
queries are wanted, (B, N). A fused kernel never forms `P`, so it is formed here block by block
of queries, summed and dropped; no map is kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Scores held at a time, in elements. About the last-level cache of a desktop processor in
# float32; larger blocks were no faster where this was tried.
BLOCK_ELEMENTS = 2**21


def attention_received(
    queries: Tensor,
    keys: Tensor,
    *,
    prefix: int,
    scale: float,
    bias: Tensor | None = None,
    gradient: bool = False,
) -> Tensor:
    """The attention that each patch receives, averaged over heads and patch queries.

    The softmax runs over all `T` tokens; the rows and columns of the `prefix` leading tokens
    (class and register tokens) are left out of the mean, so a row sums to at most 1: normalise
    after averaging over layers.

    queries, keys: (B, heads, T, d).
    prefix: number of leading tokens that are not patches.
    scale: factor on the scores, usually `d ** -0.5`.
    bias: (1, heads, T, T) or (B, heads, T, T), added to the scaled scores.
    gradient: whether gradient flows back into queries, keys and bias. It is computed from
        recomputed blocks; nothing but these three is kept.

    Returns (B, N) with `N = T - prefix`, in float32, or in the inputs' type if that is wider.
    """
    if gradient and torch.is_grad_enabled():
        return _ReceivedWithGradient.apply(queries, keys, bias, prefix, scale)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return _received(queries, keys, bias, prefix, scale)


def _query_blocks(queries: Tensor, prefix: int) -> list[slice]:
    """Slices of the patch queries, with B * heads * n * T scores a block."""
    batch, heads, tokens, _ = queries.shape
    rows = max(1, BLOCK_ELEMENTS // (batch * heads * tokens))
    return [slice(at, min(at + rows, tokens)) for at in range(prefix, tokens, rows)]


def _attention_rows(
    queries: Tensor, keys: Tensor, bias: Tensor | None, scale: float, block: slice
) -> Tensor:
    """Softmax rows of a block of queries, (B, heads, n, T), summed in at least float32."""
    scores = (queries[:, :, block] * scale) @ keys.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias[:, :, block]
    return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))


def _received(
    queries: Tensor, keys: Tensor, bias: Tensor | None, prefix: int, scale: float
) -> Tensor:
    batch, heads, tokens, _ = queries.shape
    dtype = torch.promote_types(queries.dtype, torch.float32)
    total = torch.zeros(batch, tokens, dtype=dtype, device=queries.device)
    for block in _query_blocks(queries, prefix):
        total += _attention_rows(queries, keys, bias, scale, block).sum(dim=(1, 2))
    return total[:, prefix:] / (heads * (tokens - prefix))


class _ReceivedWithGradient(torch.autograd.Function):
    """`_received` with a backward pass that recomputes its blocks.

    With rows `P`, and `g` the gradient on the column sums (zero on prefix columns), the
    gradient on the scores is `P * (g - sum_k P g)`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        bias: Tensor | None,
        prefix: int,
        scale: float,
    ) -> Tensor:
        ctx.save_for_backward(queries, keys, bias)
        ctx.prefix, ctx.scale = prefix, scale
        return _received(queries, keys, bias, prefix, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        queries, keys, bias = ctx.saved_tensors
        heads, tokens = queries.shape[1:3]
        prefix, scale = ctx.prefix, ctx.scale
        on_columns = torch.nn.functional.pad(gradient, (prefix, 0))  # (B, T)
        on_columns = (on_columns / (heads * (tokens - prefix)))[:, None, None]  # (B, 1, 1, T)
        on_queries, on_keys = torch.zeros_like(queries), torch.zeros_like(keys)
        on_bias = None if bias is None else torch.zeros_like(bias)
        for block in _query_blocks(queries, prefix):
            rows = _attention_rows(queries, keys, bias, scale, block)  # (B, heads, n, T)
            on_scores = rows * (on_columns - (rows * on_columns).sum(dim=-1, keepdim=True))
            if on_bias is not None:
                on_bias[:, :, block] = on_scores.sum_to_size(on_bias[:, :, block].shape)
            on_scores = on_scores.to(queries.dtype) * scale
            on_queries[:, :, block] = on_scores @ keys
            on_keys += on_scores.transpose(-2, -1) @ queries[:, :, block]
        return on_queries, on_keys, on_bias, None, None
