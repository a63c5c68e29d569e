"""What the interpreter says of parts of an image: its logits are a sum over patches."""

from __future__ import annotations

import torch
from torch import Tensor


def partial_logits(contributions: Tensor, bias: Tensor, visible: Tensor) -> Tensor:
    """What the interpreter says of parts of an image, `b + sum of the contributions in S`.

    contributions: (B, N, C). bias: (C,). visible: (B, N) bool, S, or (B, P, N), P parts each.
    Returns (B, C) or (B, P, C).
    """
    return bias + torch.einsum("b...n,bnc->b...c", visible.to(contributions.dtype), contributions)
