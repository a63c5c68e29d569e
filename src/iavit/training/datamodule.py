"""The batches of a run, as lightning asks for them."""

from __future__ import annotations

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from iavit.config import Config
from iavit.data.images import Splits
from iavit.data.loaders import evaluation_loader, training_loader
from iavit.types import Batch


class DataModule(LightningDataModule):
    """Training and validation images of a run; the test images are not in it.

    batches: of the whole run.
    """

    def __init__(self, splits: Splits, config: Config, batches: int) -> None:
        super().__init__()
        self.splits = splits
        self.config = config
        self.batches = batches

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches in the run's order."""
        trainer = self.trainer
        data, training = self.config.data, self.config.training
        return training_loader(
            self.splits.train,
            batch_size=data.batch_size,
            batches=self.batches,
            stretch=training.validate_every * training.accumulate,
            seed=training.seed,
            workers=data.workers,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
            # Loading processes are given batches as soon as a resumed run starts, before lightning
            # tells the order which stretch it is; its count of epochs is not right yet either.
            first_stretch=trainer.global_step // training.validate_every if trainer else 0,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation images once, as many at a time as a step has: it takes no more memory."""
        data = self.config.data
        return evaluation_loader(self.splits.val, data.batch_size, data.workers)
