"""The interpreter's branch: a narrow transformer beside the extractor, which only reads it.

The tokens that predict cannot also hold the explanation: asked for both, they do both worse
(docs/dev/log.md has the figures). So the interpreter gets layers of its own, as in ladder
side-tuning (Sung et al., NeurIPS 2022, arXiv 2206.06522) and AutoGnothi (arXiv 2410.21815). It
reads what every layer of the extractor makes of the image, and no gradient flows back.
"""

from __future__ import annotations

from collections.abc import Sequence

from timm.models.vision_transformer import Block
from torch import Tensor, nn

HEAD_CHANNELS = 16  # of each head, at least
SMALLEST, SHARE = 64, 4  # the width is a quarter of the extractor's, but not below 64


def default_width(channels: int) -> int:
    """The default width W of a branch beside an extractor of D channels."""
    return max(SMALLEST, channels // SHARE // HEAD_CHANNELS * HEAD_CHANNELS)


class Branch(nn.Module):
    """Tokens of every layer of the extractor to tokens of the branch, (B, T, W).

    `s_0 = P_0 z_0` and `s_l = Block_l(s_(l-1) + P_l z_l)` for the L layers of the extractor, with
    `z_0` the tokens that enter its first block, `z_l` those that leave block l, and `P_l` a
    LayerNorm and a linear map from D to W channels.

    channels: D. width: W. depth: L.
    """

    def __init__(self, channels: int, width: int, depth: int) -> None:
        super().__init__()
        self.width = width
        self.projections = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
            for _ in range(depth + 1)
        )
        most = max(1, width // (2 * HEAD_CHANNELS))
        heads = next(count for count in range(most, 0, -1) if width % count == 0)
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio=2.0, qkv_bias=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """L + 1 times (B, T, D), as the extractor's layers made them, to (B, T, W)."""
        first, *rest = (tokens.detach() for tokens in layers)
        tokens = self.projections[0](first)
        for layer, project, block in zip(rest, self.projections[1:], self.blocks, strict=True):
            tokens = block(tokens + project(layer))
        normed: Tensor = self.norm(tokens)
        return normed
