"""Loaders: the batches of a run, and all images once."""

from __future__ import annotations

from torch.utils.data import DataLoader

from iavit.data.images import Images
from iavit.data.order import Draws, ResumableOrder, ShardOrder
from iavit.data.shards import Shards
from iavit.errors import UserError
from iavit.types import Batch


def training_loader(
    images: Images,
    *,
    batch_size: int,
    batches: int,
    stretch: int,
    seed: int,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
    first_stretch: int = 0,
) -> DataLoader[Batch]:
    """Batches in the order of a run, which a resumed run goes on with.

    batches: of the whole run. stretch: batches between two validations, the unit in which a run
        is resumed. first_stretch: how many of those are done already.
    rank, world: of this process, among how many that train together.
    """
    order: ResumableOrder | ShardOrder
    if isinstance(images, Shards):
        order = ShardOrder(
            images.by_shard(), batch_size, batches, stretch, seed, workers, rank, world
        )
    else:
        order = ResumableOrder(len(images), batch_size, batches, stretch, seed, rank, world)
    draws = Draws(order)
    draws.set_epoch(first_stretch)
    return _loader(images, draws, workers)


def evaluation_loader(images: Images, batch_size: int, workers: int = 0) -> DataLoader[Batch]:
    """All images once, in order; the last batch is as large as what is left."""
    everything = range(len(images))
    chunks = [list(everything[at : at + batch_size]) for at in everything[::batch_size]]
    return _loader(images, chunks, workers)


def loading_mistake(error: UserError) -> UserError:
    """The one line of a mistake that a loading process met and sent with its whole traceback."""
    last = str(error).strip().splitlines()[-1]
    return UserError(last.removeprefix(f"{UserError.__module__}.{UserError.__name__}: "))


def _loader(images: Images, order: Draws | list[list[int]], workers: int) -> DataLoader[Batch]:
    return DataLoader(
        images,  # type: ignore[arg-type]
        sampler=order,
        batch_size=None,  # an item of the order is a batch already
        num_workers=workers,
        persistent_workers=workers > 0,
    )
