"""How much a transformer's head reads each of its final tokens.

Explanations that follow attention back from the prediction start here: with a class token this
is that token alone; without one, it is what takes its place.
"""

from __future__ import annotations

from typing import Any

from timm.layers import AttentionPoolLatent
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn


def pooling_weights(backbone: nn.Module, tokens: Tensor) -> Tensor:
    """Final tokens (B, T, D) to the weight of each in the pooling, (B, T); a row sums to 1.

    - a class token: 1 on it; with a distillation token, 1/2 on each, as the head averages both;
    - attention pooling (SigLIP): the pool's own attention, mean over heads and latent queries;
    - average pooling: the same for every patch. Maximum pooling is taken for an average, too:
      which token it reads differs from channel to channel.
    """
    vit: Any = backbone
    pool = getattr(vit, "attn_pool", None)
    first = 0 if getattr(vit, "pool_include_prefix", False) else vit.num_prefix_tokens
    weights = tokens.new_zeros(tokens.shape[:2])
    if pool is not None:
        # Eva hands its prefix tokens to the pool, VisionTransformer only if `pool_include_prefix`.
        first = first if hasattr(vit, "pool_include_prefix") else 0
        weights[:, first:] = pool_attention(pool, tokens[:, first:])
    elif isinstance(vit, VisionTransformerDistilled):
        weights[:, :2] = 0.5
    elif vit.global_pool == "token":
        weights[:, 0] = 1.0
    else:
        weights[:, first:] = 1 / (tokens.shape[1] - first)
    return weights


def reads_without_patches(backbone: nn.Module) -> bool:
    """Whether the head still reads something when every patch token is left out."""
    vit: Any = backbone
    if getattr(vit, "attn_pool", None) is not None and not hasattr(vit, "pool_include_prefix"):
        return vit.num_prefix_tokens > 0
    if isinstance(vit, VisionTransformerDistilled) or vit.global_pool == "token":
        return True
    return getattr(vit, "pool_include_prefix", False) and vit.num_prefix_tokens > 0


def pool_attention(pool: AttentionPoolLatent, tokens: Tensor) -> Tensor:
    """timm's attention pool over (B, n, D): the attention given to each token, (B, n)."""
    queries = pool.q(pool.latent).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
    keys = pool.kv(tokens).chunk(2, dim=-1)[0].unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
    scores = pool.q_norm(queries) @ pool.k_norm(keys).transpose(-2, -1) * pool.scale
    return scores.softmax(dim=-1).mean(dim=(1, 2))
