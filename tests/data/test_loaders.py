from __future__ import annotations

import pytest
import torch

from iavit.data.images import InMemory
from iavit.data.loaders import evaluation_loader
from iavit.data.order import ResumableOrder
from iavit.data.transforms import Normalisation


def batches(order: ResumableOrder, epochs: int) -> list[list[int]]:
    return [batch for epoch in range(epochs) for batch in order(epoch)]


def joined(drawn: list[list[int]]) -> list[int]:
    return [index for batch in drawn for index in batch]


def test_a_pass_sees_every_image_once() -> None:
    order = ResumableOrder(images=15, batch_size=5, batches=6, stretch=6, seed=0)
    drawn = batches(order, 1)
    assert sorted(joined(drawn[:3])) == sorted(joined(drawn[3:])) == list(range(15))
    assert drawn[:3] != drawn[3:]


def test_the_order_does_not_depend_on_where_it_is_cut() -> None:
    whole = batches(ResumableOrder(17, 4, batches=11, stretch=11, seed=3), 1)
    cut = batches(ResumableOrder(17, 4, batches=11, stretch=3, seed=3), 4)
    assert whole == cut
    assert len(whole) == 11


def test_a_resumed_order_goes_on_where_it_stopped() -> None:
    whole = batches(ResumableOrder(17, 4, batches=12, stretch=3, seed=3), 4)
    resumed = ResumableOrder(17, 4, batches=12, stretch=3, seed=3)
    assert list(resumed(2)) == whole[6:9]


def test_another_seed_is_another_order() -> None:
    assert list(ResumableOrder(30, 5, 6, 6, seed=0)(0)) != list(ResumableOrder(30, 5, 6, 6, 1)(0))


def test_devices_share_a_pass_between_them() -> None:
    parts = [ResumableOrder(24, 4, 3, 3, seed=0, rank=rank, world=2) for rank in range(2)]
    seen = [index for part in parts for batch in part(0) for index in batch]
    assert sorted(seen) == list(range(24))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_evaluation_sees_every_image_once_in_order(batch_size: int) -> None:
    pixels = torch.arange(7, dtype=torch.uint8)[:, None, None, None].expand(7, 3, 2, 2)
    images = InMemory(pixels, torch.arange(7), Normalisation())
    loaded = list(evaluation_loader(images, batch_size))
    assert torch.cat([batch.labels for batch in loaded]).tolist() == list(range(7))
    first = torch.cat([batch.images for batch in loaded])[:, 0, 0, 0]
    assert torch.allclose(first, (torch.arange(7) / 255 - 0.5) / 0.5)
