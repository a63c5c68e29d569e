"""Which images come in which training batch, so that a run can go on where it stopped.

A run is cut into stretches, the batches between two validations. An order tells the batches of
any stretch from its settings alone; `Draws` walks through them one stretch after another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from iavit.data import shards
from iavit.data.augment import Draw


@dataclass(frozen=True)
class ResumableOrder:
    """Indices of the training batches, fixed by seed and batch number alone.

    Every pass over the images is a new permutation; a pass leaves out what does not fill a
    batch.

    images: number of training images. batch_size: images of one device's batch.
    batches: of the whole run. stretch: batches between two validations.
    rank, world: which device of how many; the devices share each pass between them.
    """

    images: int
    batch_size: int
    batches: int
    stretch: int
    seed: int
    rank: int = 0
    world: int = 1

    def __call__(self, epoch: int) -> Iterator[list[int]]:
        """The batches of the stretch numbered `epoch`."""
        everyone = min(self.batch_size, self.images // self.world) * self.world
        each_pass = self.images // everyone
        first = epoch * self.stretch
        drawn, order = -1, torch.empty(0)
        for number in range(first, min(first + self.stretch, self.batches)):
            turn, position = divmod(number, each_pass)
            if turn != drawn:
                generator = torch.Generator().manual_seed((self.seed << 20) + turn)
                drawn, order = turn, torch.randperm(self.images, generator=generator)
            shared = order[position * everyone : (position + 1) * everyone]
            yield shared[self.rank :: self.world].tolist()


@dataclass(frozen=True)
class ShardOrder:
    """Indices of the training batches, each process's from shards of its own.

    The shards, permuted anew in every pass, are dealt to the loading processes of all devices;
    a process reads its shards to the end and mixes the samples of each chunk. What a batch holds
    follows from seed, number and how many processes there are. The loader gives batch i of a
    stretch to process i modulo `workers`.

    counts: samples of each shard. The others are those of `ResumableOrder`.
    """

    counts: Sequence[int]
    batch_size: int
    batches: int
    stretch: int
    seed: int
    workers: int = 0
    rank: int = 0
    world: int = 1

    @property
    def processes(self) -> int:
        """That load for one device: without workers, its own."""
        return max(1, self.workers)

    def __call__(self, epoch: int) -> Iterator[list[int]]:
        """The batches of the stretch numbered `epoch`."""
        streams = []
        for worker in range(self.processes):
            each = len(range(worker, self.stretch, self.processes))  # of its batches in a stretch
            streams.append(self._stream(worker, epoch * each * self.batch_size))
        for number in range(min(self.stretch, self.batches - epoch * self.stretch)):
            stream = streams[number % self.processes]
            yield [next(stream) for _ in range(self.batch_size)]

    def _stream(self, worker: int, passed: int) -> Iterator[int]:
        """The indices of one process without end, from the one numbered `passed` on."""
        begins = np.cumsum([0, *self.counts])
        for turn, shard in self._dealt(self.rank * self.processes + worker):
            if passed >= self.counts[shard]:
                passed -= self.counts[shard]
                continue
            for begin in range(0, self.counts[shard], shards.CHUNK):
                held = min(shards.CHUNK, self.counts[shard] - begin)
                if passed >= held:
                    passed -= held
                    continue
                mixed = np.random.default_rng((self.seed, turn, shard, begin)).permutation(held)
                yield from (begins[shard] + begin + mixed[passed:]).tolist()
                passed = 0

    def _dealt(self, process: int) -> Iterator[tuple[int, int]]:
        """Pass and shard, again and again, for one process of all."""
        shards, processes = len(self.counts), self.world * self.processes
        drawn, order = -1, np.arange(0)
        number = process
        while True:
            turn, place = divmod(number, shards)
            if turn != drawn:
                order = np.random.default_rng((self.seed, turn)).permutation(shards)
                drawn = turn
            yield turn, int(order[place])
            number += processes


class Draws:
    """The batches of an order, a stretch at a time, each with the seed of its random views.

    That seed follows from the run's, the batch's number and the device.
    """

    def __init__(self, order: ResumableOrder | ShardOrder) -> None:
        self.order = order
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the stretch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.order.stretch

    def __iter__(self) -> Iterator[Draw]:
        order = self.order
        for number, indices in enumerate(order(self.epoch), self.epoch * order.stretch):
            batch = number * order.world + order.rank
            state = np.random.SeedSequence((order.seed, batch)).generate_state(1, np.uint64)
            yield Draw(indices, int(state[0]))
