"""The batches of a run: its order, its processes' shares, and the validation images."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from types import SimpleNamespace
from typing import Any

import torch

from iavit.config import Config
from iavit.data.images import InMemory, Splits
from iavit.data.transforms import Normalisation
from iavit.training.datamodule import DataModule


def module(tiny_config: Config, trainer: Any = None, **data: Any) -> DataModule:
    """Of 24 images, whose label is their number; four stretches of three batches of four."""
    pixels = torch.zeros(24, 3, 8, 8, dtype=torch.uint8)
    images = InMemory(pixels, torch.arange(24), Normalisation())
    splits = Splits(tuple(map(str, range(24))), images.normalisation, lambda split: images)
    training = replace(tiny_config.training, validate_every=3, accumulate=1, seed=5)
    config = replace(
        tiny_config, data=replace(tiny_config.data, batch_size=4, **data), training=training
    )
    made = DataModule(splits, config, batches=12)
    made.trainer = trainer
    return made


def labels(module: DataModule, stretch: int = 0) -> list[list[int]]:
    loader = module.train_dataloader()
    if stretch:
        loader.sampler.set_epoch(stretch)  # type: ignore[attr-defined]
    return [batch.labels.tolist() for batch in loader]


def running(step: int = 0, rank: int = 0, world: int = 1) -> Any:
    return SimpleNamespace(global_step=step, global_rank=rank, world_size=world)


def test_a_stretch_is_what_lies_between_two_validations(tiny_config: Config) -> None:
    first, second = (labels(module(tiny_config), stretch) for stretch in (0, 1))
    assert [len(batch) for batch in first] == [4, 4, 4]
    assert sorted(chain(*first, *second)) == list(range(24))  # one pass over the images


def test_a_resumed_run_goes_on_with_the_stretch_that_it_is_in(tiny_config: Config) -> None:
    whole = [labels(module(tiny_config), stretch) for stretch in range(4)]
    for stretch in range(4):
        assert labels(module(tiny_config, running(step=3 * stretch))) == whole[stretch]
    assert whole[0] != whole[2]


def test_processes_share_each_batch(tiny_config: Config) -> None:
    shares = [labels(module(tiny_config, running(rank=rank, world=2))) for rank in (0, 1)]
    shown = [label for share in shares for batch in share for label in batch]
    assert len(set(shown)) == len(shown) == 24
    assert shares[0] != shares[1]


def test_validation_takes_batches_of_a_step_in_order(tiny_config: Config) -> None:
    found = [batch.labels.tolist() for batch in module(tiny_config).val_dataloader()]
    assert found == [list(range(at, at + 4)) for at in range(0, 24, 4)]
