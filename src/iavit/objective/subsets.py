"""What parts of an image carry: of the interpreter's sum, and of its attention.

The interpreter's logits are a sum over patches, so they are known of every part of an image, and
so is the share of its attention. What the attention of random parts should be is the part's share
of the predictor's answer: what minimises that over all parts is the additive game nearest to the
predictor's, as Shapley values are (Charnes et al. 1988; Lundberg and Lee 2017; for transformers
Covert et al., ICLR 2023), here from one forward pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from iavit.config import ObjectiveConfig
from iavit.objective.inputs import Inputs


def partial_logits(contributions: Tensor, bias: Tensor, visible: Tensor) -> Tensor:
    """What the interpreter says of parts of an image, `b + sum of the contributions in S`.

    contributions: (B, N, C). bias: (C,). visible: (B, N) bool, S, or (B, P, N), P parts each.
    Returns (B, C) or (B, P, C).
    """
    return bias + torch.einsum("b...n,bnc->b...c", visible.to(contributions.dtype), contributions)


def subset_attention(
    attention: Tensor, visible: Tensor, logits: Tensor, masked_logits: Tensor
) -> Tensor:
    """`mean (sum of the attention on S - share of the evidence in S)^2`, a scalar.

    The share is `(p(S) - p0) / (p(all) - p0)`, clipped to 0 and 1, where `p` is the probability
    of the class that the predictor chooses for the whole image and `p0 = 1 / C` that of a guess.
    The attention sums to 1, as the shares of an additive game do.

    attention: (B, N), the interpreter's. visible: (B, N) bool, S.
    logits, masked_logits: (B, C), the predictor's on the whole images and with only S visible;
        no gradient reaches them.
    """
    share = evidence_share(logits, masked_logits)
    on_part = (attention * visible).sum(dim=-1)
    return (on_part - share).square().mean()


@torch.no_grad()
def evidence_share(logits: Tensor, masked_logits: Tensor) -> Tensor:
    """How much of the predictor's answer a part of the image carries, (B,) from 0 to 1.

    Of an image whose whole is hardly more than a guess, no part carries much: what the whole
    adds to a guess counts as at least a tenth of what it could add.
    """
    chosen = logits.argmax(dim=-1, keepdim=True)
    guess = 1 / logits.shape[-1]
    whole = logits.softmax(dim=-1).gather(1, chosen)[:, 0]
    part = masked_logits.softmax(dim=-1).gather(1, chosen)[:, 0]
    most = 1 - guess
    return ((part - guess) / (whole - guess).clamp_min(most / 10)).clamp(0, 1)


def subset_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor | None:
    """`subset_attention` of the masked copies; None where there are none."""
    if inputs.copies is None:
        return None
    copies, output = inputs.copies, inputs.output
    count = len(copies.logits)
    return subset_attention(
        output.interpreter_attention[:count], copies.visible, output.logits[:count], copies.logits
    )
