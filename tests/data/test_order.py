from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from iavit.data import shards
from iavit.data.order import Draws, ResumableOrder, ShardOrder


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
    drawn = [index for part in parts for batch in part(0) for index in batch]
    assert sorted(drawn) == list(range(24))


def test_a_pass_is_the_permutation_of_seed_and_number() -> None:
    """What earlier runs were trained on, and a resumed one goes on with."""
    drawn = batches(ResumableOrder(17, 4, batches=8, stretch=8, seed=3), 1)
    for number in range(2):
        generator = torch.Generator().manual_seed(3 * 2**20 + number)
        expected = torch.randperm(17, generator=generator).tolist()
        assert joined(drawn[4 * number : 4 * number + 4]) == expected[:16]


def test_few_images_make_smaller_batches() -> None:
    parts = [batches(ResumableOrder(7, 8, 2, 2, seed=0, rank=rank, world=2), 1) for rank in (0, 1)]
    assert [[len(batch) for batch in part] for part in parts] == [[3, 3], [3, 3]]
    assert not set(parts[0][0]) & set(parts[1][0])


def test_views_have_a_seed_of_their_own_in_every_batch_of_every_device() -> None:
    order = ResumableOrder(24, 4, batches=6, stretch=2, seed=5, rank=2, world=3)
    draws = Draws(order)
    assert len(draws) == 2
    draws.set_epoch(1)
    found = list(draws)
    assert [draw.indices for draw in found] == list(order(1))
    # The batches 2 and 3 of three devices each.
    states = [np.random.SeedSequence((5, batch)).generate_state(1, np.uint64) for batch in (8, 11)]
    assert [draw.seed for draw in found] == [int(state[0]) for state in states]


def test_shards_are_dealt_and_mixed_as_before(small_chunks: None) -> None:
    """One process: the shards in the order of the pass, each mixed by chunks of three."""
    counts, order = [5, 4, 6], ShardOrder([5, 4, 6], 5, batches=6, stretch=6, seed=2)
    expected: list[int] = []
    for turn in range(2):
        for shard in np.random.default_rng((2, turn)).permutation(3).tolist():
            for begin in range(0, counts[shard], 3):
                held = min(3, counts[shard] - begin)
                mixed = np.random.default_rng((2, turn, shard, begin)).permutation(held)
                expected += (sum(counts[:shard]) + begin + mixed).tolist()
    assert joined(list(order(0))) == expected


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "CHUNK", 3)


def drawn(
    order: ShardOrder, epochs: range, workers: int = 1
) -> tuple[list[list[int]], dict[int, list[int]]]:
    """Batches, and the indices of each process in its order."""
    batches: list[list[int]] = []
    by_process: dict[int, list[int]] = {worker: [] for worker in range(workers)}
    for epoch in epochs:
        for number, batch in enumerate(order(epoch)):
            batches.append(batch)
            by_process[number % workers] += batch
    return batches, by_process


def test_a_pass_sees_every_sample_once_and_another_pass_another_order(small_chunks: None) -> None:
    batches, _ = drawn(ShardOrder([5, 4, 6], 3, batches=10, stretch=5, seed=0), range(2))
    first, second = sum(batches[:5], []), sum(batches[5:], [])  # noqa: RUF017
    assert sorted(first) == sorted(second) == list(range(15))
    assert first != second


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_shards_go_on_where_a_run_stopped(small_chunks: None, workers: int) -> None:
    def order() -> ShardOrder:
        return ShardOrder([5, 4, 6, 7], 2, batches=30, stretch=5, seed=3, workers=workers)

    whole, _ = drawn(order(), range(6))
    resumed, _ = drawn(order(), range(3, 6))
    assert resumed == whole[15:]
    assert len(whole) == 30


def test_processes_and_devices_read_shards_of_their_own(small_chunks: None) -> None:
    counts = [6] * 8
    drawings: Counter[int] = Counter()
    owners: dict[int, set[tuple[int, int]]] = {}
    for rank in range(2):
        order = ShardOrder(counts, 2, 12, 12, seed=0, workers=2, rank=rank, world=2)
        _, by_process = drawn(order, range(1), workers=2)
        for worker, indices in by_process.items():
            drawings.update(indices)
            for index in indices:
                owners.setdefault(index // 6, set()).add((rank, worker))
    assert drawings == Counter(range(48))  # a pass between them, nothing twice
    assert all(len(processes) == 1 for processes in owners.values())
