"""The interpreter's branch, one layer after another, attention written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from iavit.model.branch import Branch


def branch_tokens(branch: Branch, layers: Sequence[Tensor]) -> Tensor:
    """`s_0 = P_0 z_0`, `s_l = Block_l(s_(l-1) + P_l z_l)`, then the norm; (B, T, W)."""
    tokens = _project(branch.projections[0], layers[0])
    for number, block in enumerate(branch.blocks, start=1):
        tokens = _block(block, tokens + _project(branch.projections[number], layers[number]))
    return _norm(branch.norm, tokens)


def _project(projection: Any, tokens: Tensor) -> Tensor:
    norm, linear = projection
    return _norm(norm, tokens) @ linear.weight.T + linear.bias


def _norm(norm: Any, tokens: Tensor) -> Tensor:
    centred = tokens - tokens.mean(dim=-1, keepdim=True)
    deviation = (centred.square().mean(dim=-1, keepdim=True) + norm.eps).sqrt()
    return centred / deviation * norm.weight + norm.bias


def _block(block: Any, tokens: Tensor) -> Tensor:
    tokens = tokens + _attention(block.attn, _norm(block.norm1, tokens))
    hidden = _norm(block.norm2, tokens) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return tokens + hidden @ block.mlp.fc2.weight.T + block.mlp.fc2.bias


def _attention(attention: Any, tokens: Tensor) -> Tensor:
    width, heads = tokens.shape[-1], attention.num_heads
    joint = tokens @ attention.qkv.weight.T + attention.qkv.bias
    outputs = []
    for head in range(heads):
        size = width // heads
        query, key, value = (
            joint[..., part * width + head * size : part * width + (head + 1) * size]
            for part in range(3)
        )
        scores = query @ key.transpose(1, 2) / size**0.5
        outputs.append(scores.softmax(dim=-1) @ value)
    return torch.cat(outputs, dim=-1) @ attention.proj.weight.T + attention.proj.bias
