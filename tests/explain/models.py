"""Small models that explainers are tried on, in float64, with attention far from uniform."""

from __future__ import annotations

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from iavit.model.extractor import Extractor
from iavit.model.iavit import Architecture, IAViT
from iavit.model.interpreter import Interpreter, InterpreterHead

CLASSES, PREFIX = 5, 3  # a class token and two registers
HEIGHT, WIDTH = 12, 8
GRID = (3, 2)  # patches of 4 pixels; not square, so that no axes can change places
TARGETS = torch.tensor([4, 0, 2])


def filled(model: nn.Module, std: float = 0.4) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std, generator=generator)
    return model.double().eval().requires_grad_(False)


def plain(reg_tokens: int = 2, depth: int = 3) -> VisionTransformer:
    """A plain transformer of timm, 3 x 2 patches of 4 pixels."""
    vit = VisionTransformer(
        img_size=(HEIGHT, WIDTH),
        patch_size=4,
        num_classes=CLASSES,
        embed_dim=12,
        depth=depth,
        num_heads=2,
        reg_tokens=reg_tokens,
    )
    return filled(vit)


def joined(head: InterpreterHead = "mean") -> IAViT:
    vit = plain()
    interpreter = Interpreter(12, GRID[0] * GRID[1], CLASSES, head)
    return filled(IAViT(Extractor(vit), interpreter, Architecture("tiny", CLASSES, HEIGHT)))  # type: ignore[return-value]


def of_family(name: str, width: int = 12) -> nn.Module:
    """A small one of a timm family, 3 x 2 patches of 16 pixels."""
    vit = timm.create_model(
        name, img_size=(48, 32), embed_dim=width, depth=2, num_heads=3, num_classes=CLASSES
    )
    return filled(vit, std=0.3)


def images(seed: int = 1, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 3, *size, generator=generator, dtype=torch.float64)


def on_grid(over_patches: Tensor) -> Tensor:
    """(B, N) to (B, h, w): patches lie row by row."""
    height, width = GRID
    maps = torch.zeros(len(over_patches), height, width, dtype=over_patches.dtype)
    for row in range(height):
        for column in range(width):
            maps[:, row, column] = over_patches[:, row * width + column]
    return maps
