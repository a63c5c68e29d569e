"""What a process does to a folder, counted and ended at the n-th time."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

SECONDS = 200  # what takes longer hangs
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


class Disk:
    """Counts what is done to a folder, and acts at the n-th time; at 0 it only counts.

    kill: SIGKILL before the n-th change. torn: the same, with half of the file on the disk that
    was about to be synced. full: from the n-th change on, nothing more can be written.
    """

    def __init__(self, folder: Path, action: str, at: int) -> None:
        self.folder, self.action, self.at = str(folder), action, at
        self.count = 0
        self.sync = os.fsync

    def install(self) -> None:
        """For the rest of the process: an audit hook cannot be removed."""
        os.fsync = self.synced  # type: ignore[assignment]
        sys.addaudithook(self.happens)

    def happens(self, event: str, arguments: tuple[object, ...]) -> None:
        """Called by Python before it does anything."""
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_ACCMODE
        if (writes or event in _CHANGES) and str(arguments[0]).startswith(self.folder):
            self.step(adds=bool(writes) or event == "os.mkdir")

    def synced(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if self.action == "torn" and self.count + 1 == self.at and path.is_file():
            os.truncate(path, path.stat().st_size // 2)
        self.step(adds=path.is_file())
        self.sync(descriptor)

    def step(self, adds: bool) -> None:
        self.count += 1
        if self.action == "full" and adds and 0 < self.at <= self.count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.action in ("kill", "torn") and self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def forked(work: Callable[[], int], output: Path, seconds: int = SECONDS) -> int:
    """Start `work` in a process of its own whose output goes to a file; its process id.

    seconds: after which it is ended.
    """
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        signal.alarm(seconds)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(process: int) -> int:
    """The exit status of a process; of one that a signal ended, minus its number."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
