"""Ends a training run at the n-th thing that it does to the disk, and goes on with it.

`python -m tests.faults kill torn full --points 3,7` or `--points all`, the latter as
`make faults`. Every case is a process of its own, forked after the heavy imports. A run that was
ended is resumed, and must come to the bytes of a run that never stopped: the model, metrics.csv
and no other files, with no more than one validation's steps done again.

kill: SIGKILL before the n-th change. torn: the same, with half of the file on the disk that was
about to be synced. full: from the n-th change on, nothing more can be written.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from iavit.cli import main
from iavit.data import digits

EVERY = 5  # steps between two validations
TRAIN = (
    f"train --data digits --batch-size 16 --steps 20 --validate-every {EVERY} --log-every 2 "
    "--lr 0.01 --explain-from 0.25 --output"
).split()
SECONDS = 120  # what takes longer hangs
ACTIONS = ("kill", "torn", "full", "term", "int", "sigkill")
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


class Disk:
    """Counts what is done to a folder, and acts at the n-th time; at 0 it only counts."""

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


def train(folder: Path, output: Path, disk: Disk | None = None, *, resume: bool = False) -> int:
    """Train in a process of its own; its exit status. The last line of output is the count."""

    def work() -> int:
        if disk is not None:
            disk.install()
        status = main([*TRAIN, str(folder), *(["--resume"] if resume else [])])
        if disk is not None:
            print(f"changes: {disk.count}")
        return status

    return ended(forked(work, output))


def complaint(folder: Path, whole: Path) -> str:
    """What is wrong with a run after it was ended and is gone on with; nothing for none."""
    output = folder.with_suffix(".txt")
    before = _steps(output)
    status = train(folder, output, resume=(folder / "config.yaml").is_file())
    if status:
        return f"going on ends with {status}: {output.read_text()[-300:]}"
    name = Path("model") / "model.safetensors"
    if (folder / name).read_bytes() != (whole / name).read_bytes():
        return "other weights"
    if (folder / "metrics.csv").read_text() != (whole / "metrics.csv").read_text():
        return "another metrics.csv"
    if _names(folder) != _names(whole):
        return f"other files: {sorted(_names(folder) ^ _names(whole))}"
    again = _steps(output)
    if before and again and before[-1] - (again[0] - EVERY) > EVERY:
        return f"{before[-1] - again[0] + EVERY} steps were lost"
    return ""


def _steps(output: Path) -> list[int]:
    """The steps of the validations that a run printed."""
    return [int(step) for step in re.findall(r"^step +(\d+)/", output.read_text(), re.M)]


def _names(folder: Path) -> set[str]:
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    return {name for name in names if not name.startswith("tensorboard/events.")}


def at_points(
    action: str, points: list[int] | None, folder: Path, whole: Path
) -> tuple[int, list[str]]:
    """End a run at each of these points, or at all; how many, and what was wrong with which."""
    total = int((folder / "whole.txt").read_text().rsplit(":", 1)[1])
    chosen = [point for point in points or range(1, total + 1) if point <= total]
    wrong = []
    for point in chosen:
        run = folder / f"{action}-{point}"
        status = train(run, run.with_suffix(".txt"), Disk(run, action, point))
        text = run.with_suffix(".txt").read_text()
        said = "" if action != "full" else _answer(status, text)
        said = said or (complaint(run, whole) if status else "")
        if said:
            wrong.append(f"{action} at {point} of {total}: {said}")
        shutil.rmtree(run)
    return len(chosen), wrong


def _answer(status: int, text: str) -> str:
    """A full disk is told in one line, with status 2."""
    if status == 0:  # what came too late to matter
        return ""
    if status != 2 or text.count("iavit: ") != 1 or "Traceback" in text:
        return f"status {status}: {text[-500:]}"
    return "" if "No space left" in text else text


def at_moments(number: int, count: int, folder: Path, whole: Path) -> tuple[int, list[str]]:
    """End a run by a signal at random moments."""
    draw = random.Random(0)
    started = time.monotonic()
    train(folder / "timed", folder / "timed.txt")
    lasts = time.monotonic() - started
    shutil.rmtree(folder / "timed")
    wrong = []
    for index in range(count):
        run = folder / f"signal-{index}"
        output = run.with_suffix(".txt")
        process = forked(lambda run=run: main([*TRAIN, str(run)]), output)  # type: ignore[misc]
        time.sleep(draw.uniform(0, lasts))
        os.kill(process, number)
        status = ended(process)
        said = ""
        if number != signal.SIGKILL and status not in (0, 128 + number, -number):
            said = f"status {status}"
        if "Traceback" in output.read_text():
            said = output.read_text()[-800:]
        said = said or (complaint(run, whole) if status else "")
        if said:
            wrong.append(f"{signal.Signals(number).name} {index}: {said}")
        shutil.rmtree(run, ignore_errors=True)
    return count, wrong


def sweep(actions: list[str], points: list[int] | None, moments: int) -> list[str]:
    """All that is asked for; prints a line an action and returns what was wrong."""
    import iavit.training.run  # noqa: F401  heavy, once for all processes

    digits.SCENES["train"], digits.SCENES["val"] = 96, 60
    wrong = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("RUNS", ".")) as place:
        folder = Path(place).resolve()
        whole = folder / "whole"
        if train(whole, folder / "whole.txt", Disk(whole, "none", 0)):
            return [(folder / "whole.txt").read_text()]
        for action in actions:
            if action in ("term", "int", "sigkill"):
                number = {"term": signal.SIGTERM, "int": signal.SIGINT}.get(action, signal.SIGKILL)
                done, found = at_moments(number, moments, folder, whole)
            else:
                done, found = at_points(action, points, folder, whole)
            print(f"{action}: {done - len(found)} of {done}", flush=True)
            for line in found:
                print(line, flush=True)
            wrong += found
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("actions", nargs="+", choices=ACTIONS)
    parser.add_argument("--points", default="all", help="a,b,c or all")
    parser.add_argument("--moments", type=int, default=3, help="of each signal")
    options = parser.parse_args()
    numbers = None if options.points == "all" else [int(n) for n in options.points.split(",")]
    sys.exit(bool(sweep(options.actions, numbers, options.moments)))
