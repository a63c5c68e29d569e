"""Loaders: the batches of a run, and all images once."""

from __future__ import annotations

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from iavit.config import Config
from iavit.data.images import Images, Splits
from iavit.data.order import Draws, ResumableOrder, ShardOrder
from iavit.data.shards import Shards
from iavit.errors import UserError
from iavit.types import Batch


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
        order: ResumableOrder | ShardOrder
        if isinstance(images, Shards):
            order = ShardOrder(
                images.counts, data.batch_size, self.batches, stretch, training.seed,
                data.workers, rank, world,
            )  # fmt: skip
        else:
            order = ResumableOrder(
                len(images), data.batch_size, self.batches, stretch, training.seed, rank, world
            )
        draws = Draws(order)
        # Loading processes are given batches as soon as a resumed run starts, before lightning
        # tells the order which stretch it is; its count of epochs is not right yet either.
        draws.set_epoch(trainer.global_step // training.validate_every if trainer else 0)
        return _loader(images, draws, data.workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation images once."""
        data = self.config.data
        return evaluation_loader(self.splits.val, 4 * data.batch_size, data.workers)


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
