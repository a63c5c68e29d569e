"""Plants one-line faults in the package, one at a time, and counts which the tests notice.

`python -m tests.mutants draw --count 200 --seed 19` writes faults drawn over all packages to
`tests/mutants.csv`: equal shares of each package and, within it, of each kind while it lasts.
`run` runs each that has no result yet in a copy of the source, against the test file that mirrors
its module, and writes what became of it: `noticed` with the first test that failed, or `unnoticed`.
`run --results unnoticed --wide` tries the tests of the whole package on those, `--tests FILE...`
those named; slow tests are run in none. `redraw` draws another fault, of the same package and
kind, for each whose line is `gone`. `confirm` runs the tests that noticed something where there is
no fault.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path

from tests.planted import Mutant, draw, redraw

TABLE = Path("tests/mutants.csv")
SECONDS = 60  # of a processor for the tests of one fault; what takes longer went unnoticed
WAITING = 10  # as long by the clock, on a machine that others use, too
HEAVY: tuple[str, ...] = (
    "captum.attr",
    "fastapi",
    "hypothesis",
    "jsonargparse",
    "lightning",
    "matplotlib.pyplot",
)
HEAVY += ("pytest", "sklearn.metrics", "timm")

# The tests of modules that stand in no package of their own, and of what other packages test.
BESIDE = {
    "commands": ["tests/test_cli.py", "tests/test_mistakes.py", "tests/handover", "tests/serve"],
    "top": ["tests/test_*.py"],
    "report": ["tests/test_cli.py"],
    "serve": ["tests/handover"],
    "masking": ["tests/evaluate/test_protocols.py", "tests/explain/test_perturbation.py"],
}


def tests_of(fault: Mutant, wide: bool) -> list[str]:
    """The test files of the module and of its package as a whole; if wide, all that test it."""
    own = Path("tests") / ("" if fault.package == "top" else fault.package)
    mirror = own / f"test_{Path(fault.file).stem.strip('_')}.py"
    if mirror.is_file() and not wide:
        own_whole = own / "test_init.py"  # what holds for all modules of the package
        return [str(path) for path in dict.fromkeys((mirror, own_whole)) if path.is_file()]
    beside = [path for pattern in BESIDE.get(fault.package, []) for path in Path().glob(pattern)]
    return [str(path) for path in dict.fromkeys([*sorted(own.glob("test_*.py")), *sorted(beside)])]


def noticed(fault: Mutant, place: Path, tests: Sequence[str], seconds: int) -> tuple[str, str]:
    """Plant a fault in the copy and run tests: the result, and by which test."""
    path = place / fault.file
    if not path.is_file():
        return "gone", ""
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    rows = [row for row, line in enumerate(lines) if line.rstrip("\n") == fault.before]
    if not rows:
        return "gone", ""
    row = min(rows, key=lambda row: abs(row + 1 - fault.line))
    lines[row] = fault.after + "\n"
    path.write_text("".join(lines))
    try:
        return _tested(place, tests, seconds)
    finally:
        path.write_text(whole)


def _tested(place: Path, files: Sequence[str], seconds: int) -> tuple[str, str]:
    """Run test files in a process forked after the heavy imports."""
    output = place / "output.txt"
    process = os.fork()
    if not process:
        status = 70
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            status = _test(place, files, output)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    limit = time.monotonic() + WAITING * seconds
    while time.monotonic() < limit:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            text = output.read_text(errors="replace")
            first = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", text, re.M)
            code = os.waitstatus_to_exitcode(status)
            if code in (0, 5):  # none failed; none there
                return "unnoticed", ""
            if code == -signal.SIGXCPU:
                return "unnoticed", f"ran {seconds} seconds"
            return "noticed", first.group(1) if first else "no test can be collected"
        time.sleep(0.05)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return "unnoticed", f"ran {seconds} seconds"


def _test(place: Path, files: Sequence[str], output: Path) -> int:
    """What the forked process does: pytest's exit status."""
    import pytest

    os.setpgid(0, 0)  # ended with what it starts; the session, and its share, stay the same
    os.chdir(place)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.path[:0] = [str(place / "src"), str(place)]
    os.environ["PYTHONPATH"] = str(place / "src")
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "iavit")]:
        del sys.modules[name]
    quiet = ["-q", "--no-header", "-p", "no:cacheprovider", "-m", "not slow"]
    quiet += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main(["-x", *quiet, *files]))


def read() -> list[Mutant]:
    """The table of faults."""
    with TABLE.open(newline="") as file:
        _, *rows = csv.reader(file)
    return [
        Mutant(package, path, int(line), kind, before, after, result, by)
        for package, path, line, kind, before, after, result, by in rows
    ]


def save(mutants: list[Mutant]) -> None:
    """Write the table."""
    with TABLE.open("w", newline="") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Mutant)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(mutant) for mutant in mutants)


def summary(mutants: list[Mutant]) -> str:
    """A line a package: how many of the faults that change something were noticed."""
    lines = []
    for package in ["", *sorted({mutant.package for mutant in mutants})]:
        found = Counter(m.result for m in mutants if package in ("", m.package))
        total = found["noticed"] + found["unnoticed"]
        share = f"{100 * found['noticed'] / total:.0f} %" if total else "none run"
        lines.append(
            f"{package or 'all':<12} {found['noticed']} of {total} noticed ({share}), "
            f"{found['equivalent']} change nothing, {found['']} not run"
        )
    return "\n".join(lines)


@contextmanager
def _copy() -> Iterator[Path]:
    """A copy of what is under version control, to plant faults in, and the heavy imports done."""
    for name in HEAVY:  # once for all processes
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve() / "tree"
        names = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
        for name in names.stdout.splitlines():
            if Path(name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(name, place / name)
        yield place


def run(
    results: Sequence[str], rows: Sequence[int], tests: Sequence[str], wide: bool, seconds: int
) -> None:
    """Run the faults of these results, or rows, keeping the table after each.

    tests: test files; by default those of each fault's module or, if `wide`, package.
    """
    with _copy() as place:
        for number, fault in enumerate(read()):
            if number not in rows if rows else fault.result not in results:
                continue
            started = time.monotonic()
            result, by = noticed(fault, place, tests or tests_of(fault, wide), seconds)
            table = read()  # what was judged by hand meanwhile stays
            table[number] = replace(fault, result=result, by=by)
            save(table)
            took = time.monotonic() - started
            print(f"{number} {fault.file}:{fault.line} {result} {by} ({took:.0f} s)", flush=True)


def confirm() -> None:
    """Run the tests that noticed a fault where there is none; one that fails tells nothing."""
    table = read()
    tests = {fault.by for fault in table if fault.by.startswith("tests/")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *sorted(tests)], stdout=subprocess.PIPE, text=True, check=False
    )
    failed = set(re.findall(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.M)) & tests
    save([replace(m, result="", by="") if m.by in failed else m for m in table])
    print(done.stdout[-2000:] if done.returncode else f"{len(tests)} tests pass without a fault")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("draw", "redraw", "run", "confirm", "summary"))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--results", default="", help="of which faults: 'unnoticed', say")
    parser.add_argument("--rows", type=int, nargs="*", default=(), help="which, from 0")
    parser.add_argument("--tests", nargs="*", default=(), help="test files to run")
    parser.add_argument("--wide", action="store_true", help="all test files of the package")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    options = parser.parse_args()
    if options.action == "draw":
        save(draw(options.count, options.seed))
    elif options.action == "redraw":
        save(redraw(read(), options.seed))
    elif options.action == "run":
        results = options.results.split(",")
        run(results, options.rows, options.tests, options.wide, options.seconds)
    elif options.action == "confirm":
        confirm()
    if options.action != "draw":
        print(summary(read()))
