"""Ends a command at the n-th thing that it does to the disk, and gives it again.

`python -m tests.faults kill torn full --points 3,7`, `--points all` or `--draw 20`;
`--cases evaluate,reproduce` for others than training. Every case is a process of its own, forked
after the heavy imports. Given again, the command must come to the files of one that was never
ended: the same bytes (but for how long things took) and no others, and of a training no more
than one validation's steps done again.

kill: SIGKILL before the n-th change. torn: the same, with half of the file on the disk that was
about to be synced. full: from the n-th change on, nothing more can be written. term, int,
sigkill: a signal at random moments, `--moments` of each.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from iavit.cli import main
from tests.faults.cases import CASES, EVALUATE, EVERY, add_pictures, copy_of, difference, make_small
from tests.faults.disk import Disk, ended, forked

SIGNALS = {"term": signal.SIGTERM, "int": signal.SIGINT, "sigkill": signal.SIGKILL}
ACTIONS = ("kill", "torn", "full", *SIGNALS)


@dataclass(frozen=True)
class Bench:
    """A command and the folder in which it is ended over and over.

    run: a measured run, which commands that need one begin with. whole: what the command leaves
    if nobody ends it, by so many changes to the disk and in so many seconds.
    """

    name: str
    folder: Path
    run: Path
    whole: Path
    changes: int = 0
    seconds: float = 0.0

    def start(self, name: str) -> Path:
        """The folder that the command works in, as it is before."""
        folder = self.folder / name / "work"  # one name: it stands on a card
        folder.parent.mkdir()
        if CASES[self.name].start:
            copy_of(self.run, folder)
        return folder

    def give(self, folder: Path, disk: Disk | None = None) -> int:
        """Start the command in a process of its own; the process id."""

        def work() -> int:
            if disk is not None:
                disk.install()
            status = main(CASES[self.name].words(folder))
            if disk is not None:
                print(f"changes: {disk.count}")
            return status

        return forked(work, folder.with_suffix(".txt"))

    def complaint(self, folder: Path) -> str:
        """What is wrong after the command was ended and is given again; nothing for nothing."""
        output = folder.with_suffix(".txt")
        before = _steps(output)
        if status := ended(self.give(folder)):
            return f"given again it ends with {status}: {output.read_text()[-400:]}"
        again = _steps(output)
        if before and again and before[-1] - (again[0] - EVERY) > EVERY:
            return f"{before[-1] - again[0] + EVERY} steps were lost"
        return difference(folder, self.whole)


def _steps(output: Path) -> list[int]:
    """The steps of the validations that a run printed."""
    return [int(step) for step in re.findall(r"^step +(\d+)/", output.read_text(), re.M)]


def bench(name: str, place: Path, run: Path) -> Bench:
    """Carry the command out once, unharmed."""
    folder = place / name
    folder.mkdir()
    made = Bench(name, folder, run, folder / "whole" / "work")
    whole = made.start("whole")
    started = time.monotonic()
    if ended(made.give(whole, Disk(whole, "none", 0))):
        sys.exit(whole.with_suffix(".txt").read_text())
    changes = int(whole.with_suffix(".txt").read_text().rsplit(":", 1)[1])
    return Bench(name, folder, run, whole, changes, time.monotonic() - started)


def at_points(on: Bench, action: str, points: list[int]) -> list[str]:
    """End the command at each of these changes; what was wrong with which."""
    wrong = []
    for point in points:
        folder = on.start(f"{action}-{point}")
        status = ended(on.give(folder, Disk(folder, action, point)))
        said = _answer(status, folder.with_suffix(".txt").read_text()) if action == "full" else ""
        said = said or (on.complaint(folder) if status else "")
        if said:
            wrong.append(f"{on.name}, {action} at {point} of {on.changes}: {said}")
        shutil.rmtree(folder.parent)
    return wrong


def _answer(status: int, text: str) -> str:
    """A full disk is told in one line, with status 2."""
    if status == 0:  # what came too late to matter
        return ""
    if status != 2 or text.count("iavit: ") != 1 or "Traceback" in text:
        return f"status {status}: {text[-500:]}"
    return "" if "No space left" in text else text


def at_moments(on: Bench, number: signal.Signals, count: int, draw: random.Random) -> list[str]:
    """End the command by a signal at random moments."""
    wrong = []
    for index in range(count):
        folder = on.start(f"signal-{index}")
        process = on.give(folder)
        time.sleep(draw.uniform(0, on.seconds))
        os.kill(process, number)
        status, text = ended(process), folder.with_suffix(".txt").read_text()
        said = ""
        if number != signal.SIGKILL and status not in (0, 128 + number, -number):
            said = f"status {status}"
        if "Traceback" in text:
            said = text[-800:]
        said = said or (on.complaint(folder) if status else "")
        if said:
            wrong.append(f"{on.name}, {number.name} {index}: {said}")
        shutil.rmtree(folder.parent)
    return wrong


def sweep(options: argparse.Namespace) -> list[str]:
    """All that is asked for; prints a line a case and action; returns what was wrong."""
    import iavit.evaluate.audit
    import iavit.report.page
    import iavit.training.run  # noqa: F401  heavy, once for all processes

    make_small()
    draw = random.Random(options.seed)
    wrong = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("RUNS", ".")) as name:
        place = Path(name).resolve()
        training = bench("train", place, place)
        run = place / "run"
        if options.cases != "train":
            copy_of(training.whole, run)
            add_pictures(run)
            words = ["evaluate", str(run), *EVALUATE]
            if ended(forked(lambda: main(words), place / "run.txt")):
                sys.exit((place / "run.txt").read_text())
        for case in options.cases.split(","):
            on = training if case == "train" else bench(case, place, run)
            points = list(range(1, on.changes + 1))
            if options.draw:
                points = sorted(draw.sample(points, min(options.draw, len(points))))
            elif options.points != "all":
                points = [at for at in map(int, options.points.split(",")) if at <= on.changes]
            for action in options.actions:
                if action in SIGNALS:
                    found = at_moments(on, SIGNALS[action], options.moments, draw)
                else:
                    found = at_points(on, action, points)
                asked = options.moments if action in SIGNALS else len(points)
                print(f"{case}: {action}: {asked - len(found)} of {asked}", flush=True)
                for line in found:
                    print(line, flush=True)
                wrong += found
            shutil.rmtree(on.folder)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("actions", nargs="+", choices=ACTIONS)
    parser.add_argument("--cases", default="train", help=f"a,b of {', '.join(CASES)}")
    parser.add_argument("--points", default="all", help="a,b,c or all")
    parser.add_argument("--draw", type=int, default=0, help="so many points, drawn")
    parser.add_argument("--moments", type=int, default=3, help="of each signal")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    sys.exit(bool(sweep(parser.parse_args())))
