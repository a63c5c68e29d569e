"""Loaders: which images come in which step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from iavit.config import Config
from iavit.data.augment import Draw
from iavit.data.images import Images, Splits
from iavit.data.shards import ShardOrder, Shards
from iavit.errors import UserError
from iavit.types import Batch


class ResumableOrder:
    """Indices of the training batches, fixed by seed and batch number alone.

    Every pass over the images is a new permutation; a pass leaves out what does not fill a
    batch. The run is cut into stretches, the batches between two validations: `set_epoch`
    chooses the stretch, so a run that stopped goes on with the very images it would have seen.

    images: number of training images. batch_size: images of one device's batch.
    batches: of the whole run. stretch: batches between two validations.
    rank, world: which device of how many; the devices share each pass between them.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        batches: int,
        stretch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images = images
        self.batch_size = min(batch_size, images // world)
        self.batches = batches
        self.stretch = stretch
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the stretch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.stretch

    def __iter__(self) -> Iterator[list[int]]:
        everyone = self.batch_size * self.world
        each_pass = self.images // everyone
        first = self.epoch * self.stretch
        drawn, order = -1, torch.empty(0)
        for number in range(first, min(first + self.stretch, self.batches)):
            turn, position = divmod(number, each_pass)
            if turn != drawn:
                generator = torch.Generator().manual_seed((self.seed << 20) + turn)
                drawn, order = turn, torch.randperm(self.images, generator=generator)
            shared = order[position * everyone : (position + 1) * everyone]
            yield shared[self.rank :: self.world].tolist()


class DataModule(LightningDataModule):
    """Training and validation images of a run; the test images are not in it."""

    def __init__(self, splits: Splits, config: Config, batches: int) -> None:
        super().__init__()
        self.splits = splits
        self.config = config
        self.batches = batches

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches in the run's order."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        images = self.splits.train
        data, training = self.config.data, self.config.training
        stretch = training.validate_every * training.accumulate
        order: Order
        if isinstance(images, Shards):
            order = ShardOrder(
                images.counts, data.batch_size, self.batches, stretch, training.seed,
                data.workers, rank, world,
            )  # fmt: skip
        else:
            order = ResumableOrder(
                len(images), data.batch_size, self.batches, stretch, training.seed, rank, world
            )
        # Loading processes are given batches as soon as a resumed run starts, before lightning
        # tells the order which stretch it is; its count of epochs is not right yet either.
        order.set_epoch(trainer.global_step // training.validate_every if trainer else 0)
        return _loader(images, Draws(order, training.seed), data.workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation images once."""
        data = self.config.data
        return evaluation_loader(self.splits.val, 4 * data.batch_size, data.workers)


class Order(Protocol):
    """Lists of indices, a batch each, a stretch at a time."""

    epoch: int
    stretch: int
    rank: int
    world: int

    def set_epoch(self, epoch: int) -> None: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[list[int]]: ...


class Draws:
    """The batches of an order, each with the seed of its random views.

    The seed follows from the run's, the batch's number and the device.
    """

    def __init__(self, order: Order, seed: int) -> None:
        self.order = order
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Choose the stretch that the next iteration yields."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Draw]:
        order = self.order
        first = order.epoch * order.stretch
        for number, indices in enumerate(order, first):
            batch = number * order.world + order.rank
            state = np.random.SeedSequence((self.seed, batch)).generate_state(1, np.uint64)
            yield Draw(indices, int(state[0]))


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
