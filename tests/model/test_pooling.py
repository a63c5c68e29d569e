"""What a head reads: the derivative of its pooling, where the pooling is linear."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timm
import torch
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn

from iavit.model.pooling import pool_attention, pooling_weights, reads_without_patches


def small(name: str, **options: Any) -> nn.Module:
    size = {"img_size": (48, 32), "embed_dim": 12, "depth": 1, "num_heads": 3, "num_classes": 5}
    return timm.create_model(name, **{**size, **options}).eval()


def tokens(vit: Any, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, vit.num_prefix_tokens + 6, 12)
    return torch.randn(shape, generator=generator)


LINEAR = [
    "vit_small_patch16_224",
    "deit_small_distilled_patch16_224",
    "vit_medium_patch16_reg4_gap_256",
    "vit_small_patch16_dinov3",
    "beit_base_patch16_224",
    "vit_relpos_small_patch16_224",
]


@pytest.mark.parametrize("name", LINEAR)
def test_linear_pooling_is_a_sum_with_these_weights(name: str) -> None:
    vit: Any = small(name)
    vit.fc_norm = nn.Identity()
    final = tokens(vit)
    weights = pooling_weights(vit, final)
    pooled = vit.forward_head(final, pre_logits=True)
    torch.testing.assert_close((weights[..., None] * final).sum(dim=1), pooled)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))


@torch.no_grad()
def twin(pool: AttentionPoolLatent, given: Tensor) -> Tensor:
    """One image, head and token at a time: `mean_h softmax_k(q_h . k_h / sqrt(d))`."""
    width = pool.head_dim
    query = pool.q(pool.latent)[0, 0]
    result = torch.zeros(given.shape[:2], dtype=torch.float64)
    for image, row in enumerate(given):
        for head in range(pool.num_heads):
            part = slice(head * width, (head + 1) * width)
            scores = [float(query[part] @ pool.kv(token)[part]) / math.sqrt(width) for token in row]
            total = sum(math.exp(score) for score in scores)
            for at, score in enumerate(scores):
                result[image, at] += math.exp(score) / total / pool.num_heads
    return result


# SigLIP has no prefix; the second hides its registers from the pool; the third is Eva.
POOLED: list[tuple[str, int, dict[str, Any]]] = [
    ("vit_base_patch16_siglip_224", 0, {}),
    ("vit_so150m_patch16_reg4_map_256", 4, {}),
    ("vit_pe_core_small_patch16_384", 0, {"attn_pool_num_heads": 2}),
]


@pytest.mark.parametrize(("name", "hidden", "options"), POOLED)
def test_attention_pooling_is_the_pools_own_map(
    name: str, hidden: int, options: dict[str, Any]
) -> None:
    vit: Any = small(name, **options).double()
    for parameter in vit.attn_pool.parameters():
        nn.init.normal_(parameter, std=0.5)
    final = tokens(vit).double()
    weights = pooling_weights(vit, final).detach()
    assert not weights[:, :hidden].any()
    expected = twin(vit.attn_pool, final[:, hidden:])
    torch.testing.assert_close(weights[:, hidden:], expected)
    torch.testing.assert_close(
        pool_attention(vit.attn_pool, final[:, hidden:]), weights[:, hidden:]
    )


def test_the_pools_map_is_what_weighs_its_values() -> None:
    pool = AttentionPoolLatent(12, num_heads=1, norm_layer=nn.LayerNorm).double().eval()
    final = torch.randn(2, 7, 12, dtype=torch.float64)
    weights = pool_attention(pool, final)
    values = pool.kv(final)[..., 12:]
    context = pool.proj((weights[..., None] * values).sum(dim=1))
    torch.testing.assert_close(context + pool.mlp(pool.norm(context)), pool(final))


def test_without_patches_a_head_reads_its_prefix_or_nothing() -> None:
    registers, pooled = "vit_medium_patch16_reg4_gap_256", "vit_so150m_patch16_reg4_map_256"
    read = {
        "vit_small_patch16_224": True,  # a class token
        "deit_small_distilled_patch16_224": True,
        registers: False,  # registers, which the average leaves out
        "vit_pe_core_small_patch16_384": True,  # its pool is given the class token, too
        "vit_base_patch16_siglip_224": False,
        pooled: False,
    }
    heads = {"vit_pe_core_small_patch16_384": {"attn_pool_num_heads": 2}}
    found = {name: reads_without_patches(small(name, **heads.get(name, {}))) for name in read}
    assert found == read
    for name in (registers, pooled):
        assert reads_without_patches(small(name, pool_include_prefix=True))
    without_token = {"global_pool": "avg", "class_token": False}
    vit = small("vit_small_patch16_224", **without_token, pool_include_prefix=True)
    assert not reads_without_patches(vit)


def test_prefix_tokens_are_read_where_the_pooling_includes_them() -> None:
    vit = small("vit_medium_patch16_reg4_gap_256", pool_include_prefix=True)
    torch.testing.assert_close(pooling_weights(vit, tokens(vit)), torch.full((2, 10), 0.1))
