from __future__ import annotations

import pytest
import torch

from iavit.data.images import InMemory
from iavit.data.loaders import evaluation_loader
from iavit.data.transforms import Normalisation


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_evaluation_sees_every_image_once_in_order(batch_size: int) -> None:
    pixels = torch.arange(7, dtype=torch.uint8)[:, None, None, None].expand(7, 3, 2, 2)
    images = InMemory(pixels, torch.arange(7), Normalisation())
    loaded = list(evaluation_loader(images, batch_size))
    assert torch.cat([batch.labels for batch in loaded]).tolist() == list(range(7))
    first = torch.cat([batch.images for batch in loaded])[:, 0, 0, 0]
    assert torch.allclose(first, (torch.arange(7) / 255 - 0.5) / 0.5)
