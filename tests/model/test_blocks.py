"""timm's blocks as functions: the same tokens, and attention as it is by its words.

Every family of timm goes through them in test_families.
"""

from __future__ import annotations

import pytest
import torch
from docs.families import FAMILIES, Family, small

from iavit.model.blocks import BLOCKS, Position, bias_at, run_block

# Those whose blocks are given no position.
POSITIONED = ("RoPE", "BEiT", "EVA", "DINOv3", "Sapiens", "Perception")
PLAIN = [family for family in FAMILIES if not any(word in family.title for word in POSITIONED)]
OF_EACH_BLOCK = list({type(small(family).blocks[0]): family for family in PLAIN}.values())


@pytest.mark.parametrize("family", OF_EACH_BLOCK, ids=lambda family: family.name)
def test_a_block_gives_timms_tokens(family: Family) -> None:
    vit = small(family)
    block = vit.blocks[1]
    assert type(block) in BLOCKS
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randn(2, 6 + vit.num_prefix_tokens, 24, generator=generator)
    with torch.no_grad():
        found, attentions = run_block(block, tokens, Position())
        torch.testing.assert_close(found, block(tokens))
    for inputs in attentions:
        expected = inputs.map() @ inputs.values
        torch.testing.assert_close(inputs.context, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(inputs.map().sum(dim=-1), torch.ones(2, 3, tokens.shape[1]))


def test_a_shared_position_reaches_the_map() -> None:
    vit = small(next(family for family in FAMILIES if "BEiT v2" in family.title))
    bias = torch.zeros(1, 3, 7, 7)
    bias[:, 1, :, 4] = 50.0  # one head looks at one token alone
    tokens = torch.randn(2, 7, 24)
    with torch.no_grad():
        _, (inputs,) = run_block(vit.blocks[0], tokens, Position(bias))
    assert (inputs.map()[:, 1, :, 4] > 0.999).all()
    assert (inputs.map()[:, 0, :, 4] < 0.999).any()


def test_a_bias_at_the_tokens_that_are_kept() -> None:
    bias = torch.arange(2 * 3 * 3).view(1, 2, 3, 3)
    kept = torch.tensor([[0, 2], [2, 1]])
    found = bias_at(bias, kept)
    assert found.shape == (2, 2, 2, 2)
    assert found[0, 0].tolist() == [[0, 2], [6, 8]]
    assert found[1, 1].tolist() == [[17, 16], [14, 13]]
    assert bias_at(bias, None) is bias
