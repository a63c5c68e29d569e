"""The processes that share a command's work, started and brought together by torch's own launcher.

All that they need of each other is torch's key-value store, which the launcher keeps: what they
measure goes through files.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from torch.distributed import Store  # type: ignore[attr-defined]

PATIENCE = timedelta(days=30)  # for the slowest process; the launcher ends all if one dies
PLAN = "plan"


@dataclass(frozen=True)
class Processes:
    """Those that share the work, and which of them runs here; by default one, alone.

    rank: the number of the one that runs here, 0 for the first, which plans and reports.
    count: how many there are.
    """

    rank: int = 0
    count: int = 1
    store: Store | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wait_for_plan(self) -> None:
        """Wait, in all but the first, until that has a plan: it alone meets a user's mistakes."""
        if self.store is not None and not self.first:
            self.store.wait([PLAN], PATIENCE)

    def plan(self, decide: Callable[[], str]) -> str:
        """What the first process decides, in all of them."""
        if self.store is None:
            return decide()
        if self.first:
            self.store.set(PLAN, decide())
        self.wait_for_plan()
        return bytes(self.store.get(PLAN)).decode()

    def turns(self, stage: str, total: int) -> Iterator[int]:
        """Numbers from 0 to `total - 1`, each to one process: whoever is free takes the next."""
        if self.store is None:
            yield from range(total)
            return
        for _ in itertools.count():
            turn = self.store.add(f"{stage}: turns", 1) - 1
            if turn >= total:
                return
            yield turn

    def in_order(self, total: int, work: Callable[[int], str]) -> Iterator[str]:
        """What the work gives for 0, 1, ... `total - 1`, each done by one of the processes.

        The first has all of it; in the others nothing comes.
        """
        if self.store is None:
            yield from (work(number) for number in range(total))
            return
        following = 0
        for turn in self.turns("work", total):
            self.store.set(f"work {turn}", work(turn))
            while self.first and self.store.check([f"work {following}"]):
                yield self._take(following)
                following += 1
        for number in range(following, total if self.first else 0):
            self.store.wait([f"work {number}"], PATIENCE)
            yield self._take(number)

    def _take(self, number: int) -> str:
        assert self.store is not None
        text = bytes(self.store.get(f"work {number}")).decode()
        self.store.delete_key(f"work {number}")
        return text

    def meet(self, stage: str) -> None:
        """Wait until all have come here."""
        if self.store is not None:
            self.store.set(f"{stage}: {self.rank}", "")
            self.store.wait([f"{stage}: {rank}" for rank in range(self.count)], PATIENCE)

    def finish(self) -> None:
        """Those that are not the first end here; that one waits for them."""
        if not self.first:
            assert self.store is not None
            self.store.set(f"finish: {self.rank}", "")
            raise SystemExit(0)
        self.meet("finish")


def launched() -> bool:
    """Whether a launcher, `torchrun` or `launch`, started this process beside others."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def local_rank() -> int:
    """The number, on this machine, of the process that runs here."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def gathered() -> Processes:
    """The processes that were started with this one; alone where no launcher did it."""
    if not launched():
        return Processes()
    from torch.distributed.rendezvous import rendezvous

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # of the launcher, which says why it ends them
    store, rank, count = next(rendezvous("env://", timeout=PATIENCE))
    return Processes(rank, count, store)


def launch(count: int, advice: str) -> None:
    """Run this very command in `count` processes that share it; ends with their exit status.

    advice: for a person of whose processes one was killed.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    cores = max(1, (os.cpu_count() or 1) // count)
    os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    try:
        main(["--standalone", f"--nproc-per-node={count}", "-m", "iavit", *sys.argv[1:]])
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        if failure.exitcode > 0:  # it has said why
            raise SystemExit(failure.exitcode) from None
        raise SystemExit(
            f"iavit: one of the processes was ended by {failure.signal_name()}; {advice}"
        ) from None
