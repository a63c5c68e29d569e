"""A small transformer in float64, pictures for it and a ranking of their patches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from iavit.model.backbones import create_backbone

TARGETS = torch.tensor([4, 0, 2])


def vit(seed: int = 0) -> Any:
    """3 x 2 patches of 4 pixels, 5 classes, float64; weights far enough from 0."""
    model = create_backbone("vit_tiny_patch16_224", num_classes=5, img_size=(48, 32)).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05, generator=generator)
    return model.eval()


def pictures(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 48, 32, generator=generator, dtype=torch.float64)


def ranks(count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.stack([torch.randperm(6, generator=generator).view(3, 2) for _ in range(count)])
