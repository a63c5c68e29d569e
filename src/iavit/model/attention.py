"""Attention received: how much attention each patch is given, beside a fused attention kernel.

The interpreter is aligned with what the extractor's self-attention looks at. Of every layer's
map `P = softmax(Q K^T / sqrt(d) + bias)`, (B, heads, T, T), only the column means over patch
queries are wanted, (B, N). A fused kernel never forms `P`, so it is formed here in blocks of
images and queries, summed and dropped; no map is kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Scores held at a time, in elements. On a processor a block and its softmax should stay in the
# second-level cache (docs/training-cost.md has the timings); elsewhere a few large blocks keep
# the device busy, at 128 MiB of float32 that are free again after the layer.
CACHE_ELEMENTS = 2**18
DEVICE_ELEMENTS = 2**25


def attention_received(
    queries: Tensor,
    keys: Tensor,
    *,
    prefix: int,
    scale: float,
    bias: Tensor | None = None,
    padding: Tensor | None = None,
    gradient: bool = False,
) -> Tensor:
    """The attention that each patch receives, averaged over heads and patch queries.

    The softmax runs over all `T` tokens; the columns of the `prefix` leading tokens (class and
    register tokens) are left out, so a row sums to at most 1: normalise after averaging over
    layers. Under autocast, scores are in its precision, as the fused kernel's are; whatever the
    precision, softmax and sums are in float32 at least.

    queries, keys: (B, heads, T, d).
    prefix: number of leading tokens that are not patches.
    scale: factor on the scores, usually `d ** -0.5`.
    bias: added to the scaled scores, (B, heads, T, T) or what broadcasts to it.
    padding: (B, T) bool, True for tokens that only fill the sequence up: they receive nothing,
        and their own rows do not count. Of each image one patch at least must be real.
    gradient: whether gradient flows back into queries, keys and bias. It is computed from
        recomputed blocks; nothing but these three and the padding is kept.

    Returns (B, N) with `N = T - prefix`, in float32, or in the inputs' type if that is wider.
    """
    kind = queries.device.type
    if torch.is_autocast_enabled(kind):
        half = torch.get_autocast_dtype(kind)
        queries, keys = queries.to(half), keys.to(half)
    given = (queries, keys, bias, padding, prefix, scale)
    with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
        # Whoever runs an exported graph has torch's own operators alone.
        plain = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if plain or torch.compiler.is_exporting():
            return _received(*given)
        return _operator(*given)


def _blocks(queries: Tensor, prefix: int) -> list[tuple[slice, slice]]:
    """Images and patch rows of each block: whole images while they fit, else rows of one image.

    An exported graph has one block, so that it does not depend on how many images there are.
    """
    if torch.compiler.is_exporting():
        return [(slice(None), slice(prefix, queries.shape[2]))]
    batch, heads, tokens, _ = queries.shape
    limit = CACHE_ELEMENTS if queries.device.type == "cpu" else DEVICE_ELEMENTS
    patches = tokens - prefix
    rows = min(patches, max(1, limit // (heads * tokens)))
    images = max(1, limit // (heads * tokens * rows)) if rows == patches else 1
    return [
        (slice(at, at + images), slice(row, min(row + rows, tokens)))
        for at in range(0, batch, images)
        for row in range(prefix, tokens, rows)
    ]


def softmax_rows(
    scaled: Tensor, keys: Tensor, bias: Tensor | None, padding: Tensor | None
) -> Tensor:
    """Scaled queries (b, heads, n, d) and keys (b, heads, T, d) to `P`, (b, heads, n, T)."""
    scores = scaled @ keys.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    if padding is not None:
        scores = scores.masked_fill(padding[:, None, None], -torch.inf)
    return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))


def _row_weights(queries: Tensor, padding: Tensor | None, prefix: int) -> Tensor:
    """How much each patch's row counts in the mean over heads and queries, (B, N)."""
    batch, heads, tokens, _ = queries.shape
    dtype = torch.promote_types(queries.dtype, torch.float32)
    if padding is None:
        weight = 1 / (heads * (tokens - prefix))
        return queries.new_full((1, 1), weight, dtype=dtype).expand(batch, tokens - prefix)
    real = ~padding[:, prefix:]
    return real / (heads * real.sum(dim=1, keepdim=True, dtype=dtype))


def _part(bias: Tensor | None, images: slice, rows: slice) -> Tensor | None:
    """The bias of a block; a dimension of size 1 stands for all."""
    if bias is None:
        return None
    part = bias if len(bias) == 1 else bias[images]
    return part if part.shape[2] == 1 else part[:, :, rows]


def _received(
    queries: Tensor,
    keys: Tensor,
    bias: Tensor | None,
    padding: Tensor | None,
    prefix: int,
    scale: float,
) -> Tensor:
    heads = queries.shape[1]
    weights = _row_weights(queries, padding, prefix)
    parts: dict[int, Tensor] = {}  # by the first image of the block
    with torch.autocast(queries.device.type, enabled=False):
        for images, rows in _blocks(queries, prefix):
            masked = None if padding is None else padding[images]
            scaled = queries[images, :, rows] * scale
            maps = softmax_rows(scaled, keys[images], _part(bias, images, rows), masked)
            # A product with the weights: several times as fast as a sum over two dimensions.
            weight = weights[images, rows.start - prefix : rows.stop - prefix]
            weight = weight[:, None].expand(-1, heads, -1).flatten(1)  # (b, heads * n)
            part = (weight[:, None] @ maps.flatten(1, 2))[:, 0]  # (b, T)
            at = images.start or 0
            parts[at] = part if at not in parts else parts[at] + part
    return torch.cat(list(parts.values()))[:, prefix:].contiguous()


# `_received` as one operator of torch's, whose backward pass recomputes the blocks. An
# `autograd.Function` would do in eager mode, but a compiler looks into one, sees the same scores
# in both passes, and keeps them from one to the other: the whole map.
_operator = torch.library.custom_op(
    "iavit::attention_received",
    _received,
    mutates_args=(),
    schema="(Tensor queries, Tensor keys, Tensor? bias, Tensor? padding, SymInt prefix, "
    "float scale) -> Tensor",
)


@_operator.register_fake
def _shape_of_received(queries: Tensor, keys: Tensor, *rest: Any) -> Tensor:
    prefix = rest[-2]
    batch, _, tokens, _ = queries.shape
    dtype = torch.promote_types(queries.dtype, torch.float32)
    return queries.new_empty(batch, tokens - prefix, dtype=dtype)


@torch.library.custom_op(
    "iavit::attention_received_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor queries, Tensor keys, Tensor? bias, Tensor? padding, "
    "SymInt prefix, float scale, bool biased) -> (Tensor, Tensor, Tensor)",
)
def _backward_operator(
    gradient: Tensor,
    queries: Tensor,
    keys: Tensor,
    bias: Tensor | None,
    padding: Tensor | None,
    prefix: int,
    scale: float,
    biased: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """From the gradient on the result to those on queries, keys and, if `biased`, the bias.

    With rows `P` of weight `w`, and `g` the gradient on the columns (zero on prefix columns), the
    gradient on the scores is `w P * (g - sum_k P g)`.
    """
    columns = torch.nn.functional.pad(gradient, (prefix, 0))  # g, (B, T)
    weights = _row_weights(queries, padding, prefix)
    on_queries, on_keys, on_bias = _shapes_of_gradients(queries, keys, bias, biased)
    for whole in (on_queries, on_keys, on_bias):
        whole.zero_()
    with torch.autocast(queries.device.type, enabled=False):
        for images, rows in _blocks(queries, prefix):
            masked = None if padding is None else padding[images]
            scaled = queries[images, :, rows] * scale
            maps = softmax_rows(scaled, keys[images], _part(bias, images, rows), masked)
            column = columns[images, None, None]  # (b, 1, 1, T)
            # Not `maps @ column`: a product with one column took five times as long.
            on_scores = (column - (maps * column).sum(dim=-1, keepdim=True)).mul_(maps)
            weight = weights[images, rows.start - prefix : rows.stop - prefix]
            weight = weight[:, None, :, None]  # (b, 1, n, 1)
            on_part = _part(on_bias if biased else None, images, rows)
            if on_part is not None:
                on_part += (on_scores * weight).sum_to_size(on_part.shape)
            on_scores = on_scores.to(queries.dtype)
            # The weight and the scale on the narrow side: n x d instead of n x T products.
            weight = weight.to(queries.dtype)
            on_queries[images, :, rows] = (on_scores @ keys[images]) * (weight * scale)
            on_keys[images] += on_scores.transpose(-2, -1) @ (scaled * weight)
    return on_queries, on_keys, on_bias


def _shapes_of_gradients(
    queries: Tensor, keys: Tensor, bias: Tensor | None, biased: bool
) -> tuple[Tensor, Tensor, Tensor]:
    nothing = queries.new_empty(0)
    on_bias = torch.empty_like(bias) if biased and bias is not None else nothing
    return torch.empty_like(queries), torch.empty_like(keys), on_bias


@_backward_operator.register_fake
def _shapes_of_backward(
    gradient: Tensor, queries: Tensor, keys: Tensor, bias: Tensor | None, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return _shapes_of_gradients(queries, keys, bias, rest[-1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.rest = inputs[4:]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    biased = ctx.needs_input_grad[2]
    on_queries, on_keys, on_bias = _backward_operator(
        gradient, *ctx.saved_tensors, *ctx.rest, biased
    )
    return on_queries, on_keys, on_bias if biased else None, None, None, None


_operator.register_autograd(_backward, setup_context=_keep)
