from __future__ import annotations

import pytest
import torch

from iavit.data.augment import Draw
from iavit.data.images import InMemory
from iavit.data.loaders import evaluation_loader, loading_mistake, training_loader
from iavit.data.order import Draws, ResumableOrder, ShardOrder
from iavit.data.shards import Shards
from iavit.data.transforms import Normalisation
from iavit.errors import UserError


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_evaluation_sees_every_image_once_in_order(batch_size: int) -> None:
    pixels = torch.arange(7, dtype=torch.uint8)[:, None, None, None].expand(7, 3, 2, 2)
    images = InMemory(pixels, torch.arange(7), Normalisation())
    loaded = list(evaluation_loader(images, batch_size))
    assert torch.cat([batch.labels for batch in loaded]).tolist() == list(range(7))
    first = torch.cat([batch.images for batch in loaded])[:, 0, 0, 0]
    assert torch.allclose(first, (torch.arange(7) / 255 - 0.5) / 0.5)


def test_training_goes_on_with_the_stretch_after_those_that_are_done() -> None:
    pixels = torch.zeros(20, 3, 2, 2, dtype=torch.uint8)
    images = InMemory(pixels, torch.arange(20), Normalisation())
    loader = training_loader(
        images, batch_size=3, batches=7, stretch=2, seed=5, rank=1, world=2, first_stretch=3
    )
    order = ResumableOrder(20, 3, 7, 2, seed=5, rank=1, world=2)
    assert [batch.labels.tolist() for batch in loader] == list(order(3))
    assert len(list(order(3))) == 1  # what is left of seven


def test_shards_are_read_in_an_order_of_their_own() -> None:
    images = Shards(["a.tar", "b.tar"], [7, 5], 2, Normalisation(), 8)
    loader = training_loader(
        images, batch_size=3, batches=6, stretch=2, seed=5, workers=2, rank=1, world=2
    )
    draws = loader.sampler
    assert isinstance(draws, Draws)
    assert draws.order == ShardOrder([7, 5], 3, 6, 2, 5, 2, 1, 2)
    assert loader.num_workers == 2
    assert all(isinstance(draw, Draw) for draw in draws)


def test_of_a_loading_processs_mistake_the_last_line_is_told() -> None:
    sent = UserError("Caught UserError in worker 0.\nTraceback\niavit.errors.UserError: a.png no\n")
    assert str(loading_mistake(sent)) == "a.png no"
    assert str(loading_mistake(UserError("a.png is damaged"))) == "a.png is damaged"
