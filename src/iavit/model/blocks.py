"""timm's transformer blocks, each as a function that also returns what its attention is made of.

Every function mirrors the `forward` of the class it stands for in timm 1.0, line by line; the
module itself is left untouched. `BLOCKS` and `ATTENTIONS` say which classes are supported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from timm.layers import Attention, AttentionRope, apply_rot_embed_cat
from timm.models import beit, eva
from timm.models.vision_transformer import (
    Block,
    ParallelScalingBlock,
    ParallelThingsBlock,
    ResPostBlock,
)
from timm.models.vision_transformer_relpos import (
    RelPosAttention,
    RelPosBlock,
    ResPostRelPosBlock,
)
from torch import Tensor, nn
from torch.nn import functional as F


class AttentionInputs(NamedTuple):
    """What one self-attention map is made of: `softmax(scale Q K^T + bias)`, (B, heads, T, T).

    queries, keys: (B, heads, T, d), normalised and rotated where the model does so.
    values: (B, heads, T, e). context: (B, heads, T, e), what the map makes of them, by a fused
        kernel: without dropout, the gradient on the map is the context's times `V^T`.
    bias: (1, heads, T, T) or None, the relative position bias.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    context: Tensor
    scale: float
    bias: Tensor | None

    def map(self) -> Tensor:
        """The whole map, (B, heads, T, T)."""
        scores = self.queries @ self.keys.transpose(-2, -1) * self.scale
        return (scores if self.bias is None else scores + self.bias).softmax(dim=-1)


class Position(NamedTuple):
    """Where a block's tokens are in the image.

    shared: what the model hands to each of its blocks: a rotary embedding (`Eva`), a relative
        position bias (`Beit`, `VisionTransformerRelPos`), or None.
    kept: (B, T) or None, the tokens of the whole sequence that are in this one, where some were
        left out: a bias of the layer's own is taken at these. `shared` is so already.
    """

    shared: Tensor | None = None
    kept: Tensor | None = None


# Tokens (B, T, D) after a block, and its attention: one entry, or one each of parallel ones.
BlockResult = tuple[Tensor, list[AttentionInputs]]


def run_block(block: nn.Module, tokens: Tensor, position: Position) -> BlockResult:
    """One block over tokens (B, T, D)."""
    return BLOCKS[type(block)](block, tokens, position)


def _pre_norm(block: Any, tokens: Tensor, position: Position) -> BlockResult:
    attended, inputs = _attend(block.attn, block.norm1(tokens), position)
    tokens = tokens + block.drop_path1(block.ls1(attended))
    return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens)))), [inputs]


def _post_norm(block: Any, tokens: Tensor, position: Position) -> BlockResult:
    attended, inputs = _attend(block.attn, tokens, position)
    tokens = tokens + block.drop_path1(block.norm1(attended))
    return tokens + block.drop_path2(block.norm2(block.mlp(tokens))), [inputs]


def _pre_norm_gamma(block: Any, tokens: Tensor, position: Position) -> BlockResult:
    attended, inputs = _attend(block.attn, block.norm1(tokens), position)
    tokens = tokens + block.drop_path1(_scaled(block.gamma_1, attended))
    changed = block.mlp(block.norm2(tokens))
    return tokens + block.drop_path2(_scaled(block.gamma_2, changed)), [inputs]


def _scaled(gamma: Tensor | None, tokens: Tensor) -> Tensor:
    return tokens if gamma is None else gamma * tokens


def _parallel_scaling(block: Any, tokens: Tensor, position: Position) -> BlockResult:
    """Attention and MLP side by side (arXiv 2302.05442)."""
    projected = block.in_proj(block.in_norm(tokens))
    hidden, queries, keys, values = torch.split(projected, block.in_split, dim=-1)
    if block.mlp_bias is not None:
        hidden = hidden + block.mlp_bias
    queries, keys, values = (_heads(part, block.num_heads) for part in (queries, keys, values))
    context, inputs = _context(
        block.q_norm(queries), block.k_norm(keys), values, block.scale, block.attn_drop
    )
    hidden = block.mlp_drop(block.mlp_act(hidden))
    if block.out_proj is not None:
        joined = block.out_proj(torch.cat((context, hidden), dim=-1))
    else:
        joined = block.attn_out_proj(context) + block.mlp_out_proj(hidden)
    return tokens + block.drop_path(block.ls(joined)), [inputs]


def _parallel_things(block: Any, tokens: Tensor, position: Position) -> BlockResult:
    """Several attentions side by side, then several MLPs (arXiv 2203.09795)."""
    branches, every = [], []
    for branch in block.attns:
        attended, inputs = _attend(branch.attn, branch.norm(tokens), position)
        branches.append(branch.drop_path(branch.ls(attended)))
        every.append(inputs)
    tokens = tokens + torch.stack(branches).sum(dim=0)
    return tokens + torch.stack([ffn(tokens) for ffn in block.ffns]).sum(dim=0), every


def _attend(
    attention: nn.Module, tokens: Tensor, position: Position
) -> tuple[Tensor, AttentionInputs]:
    """One attention layer over (B, T, D): its output, and what its map is made of."""
    return ATTENTIONS[type(attention)](attention, tokens, position)


def _plain(attention: Any, tokens: Tensor, position: Position) -> tuple[Tensor, AttentionInputs]:
    queries, keys, values = _thirds(attention.qkv(tokens), attention.num_heads)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    context, inputs = _context(queries, keys, values, attention.scale, attention.attn_drop)
    return _normed_out(attention, tokens, context), inputs


def _rotary(attention: Any, tokens: Tensor, position: Position) -> tuple[Tensor, AttentionInputs]:
    """`AttentionRope`: keys and values may be shared by groups of heads."""
    if attention.qkv is not None:
        queries, keys, values = _thirds(attention.qkv(tokens), attention.num_heads)
    else:
        queries = _heads(attention.q_proj(tokens), attention.num_heads)
        keys = _heads(attention.k_proj(tokens), attention.num_kv_heads)
        values = _heads(attention.v_proj(tokens), attention.num_kv_heads)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    queries, keys = (
        _rotate(attention, part, position.shared).type_as(values) for part in (queries, keys)
    )
    if attention.num_kv_groups > 1:
        keys = keys.repeat_interleave(attention.num_kv_groups, dim=1)
        values = values.repeat_interleave(attention.num_kv_groups, dim=1)
    context, inputs = _context(queries, keys, values, attention.scale, attention.attn_drop)
    return _normed_out(attention, tokens, context), inputs


def _eva(attention: Any, tokens: Tensor, position: Position) -> tuple[Tensor, AttentionInputs]:
    """`EvaAttention`: rotary, and no bias on the keys."""
    if attention.qkv is not None:
        queries, keys, values = _thirds(_unbiased_keys(attention, tokens), attention.num_heads)
    else:
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        queries, keys, values = (_heads(p(tokens), attention.num_heads) for p in projections)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    queries, keys = (
        _rotate(attention, part, position.shared).type_as(values) for part in (queries, keys)
    )
    context, inputs = _context(queries, keys, values, attention.scale, attention.attn_drop)
    return _normed_out(attention, tokens, context), inputs


def _beit(attention: Any, tokens: Tensor, position: Position) -> tuple[Tensor, AttentionInputs]:
    """`beit.Attention`: a relative position bias of its own, one shared by all layers, or both."""
    queries, keys, values = _thirds(_unbiased_keys(attention, tokens), attention.num_heads)
    bias = position.shared
    if attention.relative_position_bias_table is not None:
        own = bias_at(attention._get_rel_pos_bias(), position.kept)
        bias = own if bias is None else own + bias
    context, inputs = _context(queries, keys, values, attention.scale, attention.attn_drop, bias)
    return attention.proj_drop(attention.proj(context)), inputs


def _relative(attention: Any, tokens: Tensor, position: Position) -> tuple[Tensor, AttentionInputs]:
    """`RelPosAttention`: a relative position bias of its own, or one shared by all layers."""
    queries, keys, values = _thirds(attention.qkv(tokens), attention.num_heads)
    bias = position.shared
    if attention.rel_pos is not None:
        bias = bias_at(attention.rel_pos.get_bias(), position.kept)
    queries, keys = attention.q_norm(queries), attention.k_norm(keys)
    context, inputs = _context(queries, keys, values, attention.scale, attention.attn_drop, bias)
    return attention.proj_drop(attention.proj(context)), inputs


def bias_at(bias: Tensor, kept: Tensor | None) -> Tensor:
    """(1, heads, T, T) at the tokens kept, (B, n): (B, heads, n, n). None keeps all."""
    if kept is None:
        return bias
    return bias[0][:, kept[:, :, None], kept[:, None, :]].transpose(0, 1)


def _heads(projected: Tensor, heads: int) -> Tensor:
    """(B, T, heads * d) to (B, heads, T, d)."""
    return projected.unflatten(-1, (heads, -1)).transpose(1, 2)


def _thirds(projected: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T, 3 * heads * d) to queries, keys and values, (B, heads, T, d) each."""
    queries, keys, values = projected.chunk(3, dim=-1)
    return _heads(queries, heads), _heads(keys, heads), _heads(values, heads)


def _unbiased_keys(attention: Any, tokens: Tensor) -> Tensor:
    """The joint projection of queries, keys and values, the keys' bias being a constant 0."""
    if attention.q_bias is None:
        return attention.qkv(tokens)
    bias = torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
    if attention.qkv_bias_separate:
        return attention.qkv(tokens) + bias
    return F.linear(tokens, attention.qkv.weight, bias)


def _rotate(attention: Any, part: Tensor, rope: Tensor | None) -> Tensor:
    """Rotate the patches of queries or keys, (B, heads, T, d); prefix tokens have no place."""
    if rope is None:
        return part
    prefix, patches = part.tensor_split([attention.num_prefix_tokens], dim=2)
    rotated = apply_rot_embed_cat(patches, rope, half=attention.rotate_half)
    return torch.cat([prefix, rotated], dim=2)


def _context(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    scale: float,
    dropout: nn.Dropout,
    bias: Tensor | None = None,
) -> tuple[Tensor, AttentionInputs]:
    """The attention-weighted values by a fused kernel, heads joined: (B, T, heads * e)."""
    context = F.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=bias,
        dropout_p=dropout.p if dropout.training else 0.0,
        scale=scale,
    )
    inputs = AttentionInputs(queries, keys, values, context, scale, bias)
    return context.transpose(1, 2).flatten(2), inputs


def _normed_out(attention: Any, tokens: Tensor, context: Tensor) -> Tensor:
    """From the context to the layer's output, by way of a norm and a gate where there are any."""
    context = attention.norm(context)
    if attention.gate is not None:
        context = context * attention.gate(tokens).sigmoid()
    return attention.proj_drop(attention.proj(context))


BLOCKS: dict[type[nn.Module], Callable[[Any, Tensor, Position], BlockResult]] = {
    Block: _pre_norm,
    RelPosBlock: _pre_norm,
    ResPostBlock: _post_norm,
    ResPostRelPosBlock: _post_norm,
    ParallelScalingBlock: _parallel_scaling,
    ParallelThingsBlock: _parallel_things,
    eva.EvaBlock: _pre_norm_gamma,
    eva.EvaBlockPostNorm: _post_norm,
    beit.Block: _pre_norm_gamma,
}

ATTENTIONS: dict[
    type[nn.Module], Callable[[Any, Tensor, Position], tuple[Tensor, AttentionInputs]]
] = {
    Attention: _plain,
    AttentionRope: _rotary,
    eva.EvaAttention: _eva,
    beit.Attention: _beit,
    RelPosAttention: _relative,
}
