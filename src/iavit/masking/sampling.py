"""Images with patches missing: what they are replaced by, and which are drawn.

A classifier that never saw a picture with pieces missing answers at random when a faithfulness
test removes pieces. Masked training shows it such pictures (Hooker et al. 2019 and Covert et al.
2023 say why). The substrate differs from image to image, so that nothing is tuned to one of them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def draw_visible(count: int, patches: int, device: torch.device) -> Tensor:
    """(count, N) bool: random subsets of the patches in complementary pairs, sizes uniform.

    Image 2 i + 1 shows exactly what image 2 i hides, which lowers the variance of whatever is
    averaged over subsets (Covert and Lee, AISTATS 2021).
    """
    pairs = -(-count // 2)
    share = torch.rand(pairs, 1, device=device)
    visible = torch.rand(pairs, patches, device=device) < share
    return torch.stack([visible, ~visible], dim=1).flatten(0, 1)[:count]


def mask_images(images: Tensor, visible: Tensor, grid: tuple[int, int]) -> Tensor:
    """Images (B, 3, H, W) with only the `visible` patches (B, N) left, by a random substrate each.

    In place of the others: the mean colour (0 once normalised), one random colour, blur, or
    noise.
    """
    kept = visible.unflatten(1, grid)[:, None].to(images.dtype)  # (B, 1, h, w)
    kept = F.interpolate(kept, images.shape[2:])
    return torch.where(kept > 0, images, draw_substrates(images, grid))


def blend_images(images: Tensor, visible: Tensor, grid: tuple[int, int]) -> Tensor:
    """`v x + (1 - v) s` with a random substrate `s` each: images (B, 3, H, W), v (B, N), 0 to 1.

    With each v 0 or 1 it is `mask_images`, of the same draw the same substrate.
    """
    kept = visible.unflatten(1, grid)[:, None].to(images.dtype)  # (B, 1, h, w)
    kept = F.interpolate(kept, images.shape[2:])
    return torch.lerp(draw_substrates(images, grid), images, kept)


def draw_substrates(images: Tensor, grid: tuple[int, int]) -> Tensor:
    """A picture for each image, (B, 3, H, W), of a kind drawn at random."""
    count = len(images)
    colour = torch.randn_like(images[:, :, :1, :1])
    noise = torch.randn_like(images)
    side = 2 * (images.shape[3] // grid[1]) + 1  # blur over a patch and its neighbours
    blurred = F.avg_pool2d(images, side, stride=1, padding=side // 2, count_include_pad=False)
    kinds = torch.stack([torch.zeros_like(images), colour.expand_as(images), noise, blurred])
    chosen = torch.randint(len(kinds), (count,), device=images.device)
    return kinds[chosen, torch.arange(count, device=images.device)]
