"""Sums over processes, which are threads here; real ones learn in training/test_processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from iavit.objective import processes
from iavit.objective.processes import rows_of_all_processes, sum_over_processes

WORLD = 3


class Threads:
    """`torch.distributed` of threads that meet: the rank is the thread's."""

    def __init__(self) -> None:
        self.own = threading.local()
        self.meeting = threading.Barrier(WORLD)
        self.parts: dict[int, Tensor] = {}

    def is_initialized(self) -> bool:
        return True

    def get_world_size(self) -> int:
        return WORLD

    def get_rank(self) -> int:
        return int(self.own.rank)

    def all_reduce(self, tensor: Tensor) -> None:
        self.parts[self.get_rank()] = tensor.clone()
        self.meeting.wait(timeout=30)
        total = torch.stack([self.parts[rank] for rank in range(WORLD)]).sum(dim=0)
        self.meeting.wait(timeout=30)
        tensor.copy_(total)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    together = Threads()
    monkeypatch.setattr(processes, "distributed", together)
    return together


def in_each(
    threads: Threads, work: Callable[[int], tuple[Tensor, Tensor]]
) -> list[tuple[Tensor, Tensor]]:
    """The results of `work(rank)` in each thread, in the order of ranks."""

    def at(rank: int) -> tuple[Tensor, Tensor]:
        threads.own.rank = rank
        return work(rank)

    with ThreadPoolExecutor(WORLD) as pool:
        return list(pool.map(at, range(WORLD)))


def test_each_has_the_sum_and_the_gradient_of_all(threads: Threads) -> None:
    parts = torch.tensor([[1.0, 2.0], [10.0, 20.0], [100.0, 300.0]])

    def work(rank: int) -> tuple[Tensor, Tensor]:
        part = parts[rank].clone().requires_grad_()
        total = sum_over_processes(part)
        ((rank + 1) * total[0] ** 2 + 7 * total[1]).backward()
        assert part.grad is not None
        return total.detach(), part.grad

    for total, gradient in in_each(threads, work):
        assert total.tolist() == [111.0, 322.0]
        # d/dx of (1 + 2 + 3) x0^2 + 3 * 7 x1, at the sum
        assert gradient.tolist() == [2 * 6 * 111.0, 21.0]


def test_rows_stand_in_the_order_of_processes(threads: Threads) -> None:
    def work(rank: int) -> tuple[Tensor, Tensor]:
        rows = torch.tensor([[rank, 1.0], [rank, 2.0]], requires_grad=True)
        every = rows_of_all_processes(rows)
        (every[:, 1] * torch.arange(6.0)).sum().backward()
        assert rows.grad is not None
        return every.detach(), rows.grad

    for rank, (every, gradient) in enumerate(in_each(threads, work)):
        assert every.tolist() == [[0, 1], [0, 2], [1, 1], [1, 2], [2, 1], [2, 2]]
        assert gradient.tolist() == [[0, WORLD * 2.0 * rank], [0, WORLD * (2.0 * rank + 1)]]


def test_without_gradient_each_keeps_its_rows(threads: Threads) -> None:
    rows = torch.randn(2, 3)
    with torch.no_grad():
        assert rows_of_all_processes(rows) is rows


def test_a_process_alone_keeps_its_rows() -> None:
    rows = torch.randn(2, 3, requires_grad=True)
    assert rows_of_all_processes(rows) is rows
