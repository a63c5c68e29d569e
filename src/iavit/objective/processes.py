"""Sums over the processes that train one model, through which gradient flows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


class _Sum(torch.autograd.Function):
    """The sum is each process's result, so each one's gradient reaches every process's part."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        return _summed(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def sum_over_processes(part: Tensor) -> Tensor:
    """The sum of the processes' tensors, of one shape, in each of them."""
    result: Tensor = _Sum.apply(part)  # type: ignore[no-untyped-call]
    return result


def rows_of_all_processes(rows: Tensor) -> Tensor:
    """(B, ...), as many rows in each process, to those of all, (B * processes, ...).

    Without gradient, or other processes, the rows as they are: in validation each has all images.
    """
    if not (torch.is_grad_enabled() and distributed.is_initialized()):
        return rows
    places = rows.new_zeros(distributed.get_world_size(), *rows.shape)
    places[distributed.get_rank()] = rows
    return sum_over_processes(places).flatten(0, 1)


def _summed(part: Tensor) -> Tensor:
    total = part.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total
