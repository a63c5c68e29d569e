"""The attention received by each patch as two Triton kernels; imported only where there is a GPU.

The first finds each query's log-sum-exp over all keys. The second goes through the queries once
for each block of keys and adds up `exp(score - log-sum-exp)`, so that neither scores nor maps
reach the device's memory.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # queries or keys at a time


@triton.jit  # type: ignore[untyped-decorator]
def _scores(queries: tl.tensor, keys: tl.tensor, scale: tl.tensor) -> tl.tensor:
    """(n, d) and (m, d) to scaled scores (n, m) in float32."""
    return tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale


@triton.jit  # type: ignore[untyped-decorator]
def _rows(
    queries: tl.tensor,
    keys: tl.tensor,
    result: tl.tensor,
    scale: tl.tensor,
    length: tl.constexpr,
    channels: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Log-sum-exps of `block` queries of one image and head."""
    image, channel, place = tl.program_id(1), tl.arange(0, channels), tl.arange(0, block)
    row = tl.program_id(0) * block + place
    begin = image.to(tl.int64) * length
    inside = (row < length)[:, None]
    q = tl.load(
        queries + (begin + row)[:, None] * channels + channel[None, :], mask=inside, other=0.0
    )
    most = tl.full((block,), -float("inf"), tl.float32)
    total = tl.zeros((block,), tl.float32)
    for first in range(0, length, block):
        column = first + place
        k = tl.load(
            keys + (begin + column)[:, None] * channels + channel[None, :],
            mask=(column < length)[:, None],
            other=0.0,
        )
        scores = tl.where((column < length)[None, :], _scores(q, k, scale), -float("inf"))
        larger = tl.maximum(most, tl.max(scores, axis=1))
        total = total * tl.exp(most - larger) + tl.sum(tl.exp(scores - larger[:, None]), axis=1)
        most = larger
    tl.store(result + begin + row, most + tl.log(total), mask=row < length)


@triton.jit  # type: ignore[untyped-decorator]
def _columns(
    queries: tl.tensor,
    keys: tl.tensor,
    rows: tl.tensor,
    result: tl.tensor,
    scale: tl.tensor,
    length: tl.constexpr,
    prefix: tl.constexpr,
    channels: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Sums over patch queries of the attention on `block` keys of one image and head."""
    image, channel, place = tl.program_id(1), tl.arange(0, channels), tl.arange(0, block)
    column = tl.program_id(0) * block + place
    begin = image.to(tl.int64) * length
    inside = (column < length)[:, None]
    k = tl.load(
        keys + (begin + column)[:, None] * channels + channel[None, :], mask=inside, other=0.0
    )
    total = tl.zeros((block,), tl.float32)
    for first in range(0, length, block):
        row = first + place
        counted = (row >= prefix) & (row < length)
        q = tl.load(
            queries + (begin + row)[:, None] * channels + channel[None, :],
            mask=counted[:, None],
            other=0.0,
        )
        lowered = (
            _scores(q, k, scale) - tl.load(rows + begin + row, mask=counted, other=0.0)[:, None]
        )
        total += tl.sum(tl.where(counted[:, None], tl.exp(lowered), 0.0), axis=0)
    tl.store(result + begin + column, total, mask=column < length)


def received(queries: Tensor, keys: Tensor, prefix: int) -> Tensor:
    """(B, heads, T, d) twice, d a power of two from 16 on, to (B, T - prefix) in float32."""
    batch, heads, length, channels = queries.shape
    queries, keys = queries.contiguous(), keys.contiguous()
    rows = queries.new_empty(batch, heads, length, dtype=torch.float32)
    columns = torch.empty_like(rows)
    grid = (triton.cdiv(length, BLOCK), batch * heads)
    scale = channels**-0.5
    _rows[grid](queries, keys, rows, scale, length, channels=channels, block=BLOCK)
    _columns[grid](
        queries, keys, rows, columns, scale, length, prefix, channels=channels, block=BLOCK
    )
    return columns[:, :, prefix:].mean(dim=1) / (length - prefix)
