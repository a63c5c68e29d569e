"""Plants one-line faults in the package, one at a time, and counts which the tests notice.

`python -m tests.mutants draw --count 200 --seed 19` writes faults drawn over all packages to
`tests/mutants.csv`; `python -m tests.mutants run` runs each that has no result yet in a copy of
the source, against the test files that mirror its module and then its package's, and writes what
became of it: `noticed` with the first test that failed, or `unnoticed`. Equal shares of each
package; within one, every kind of fault is drawn as often as the others while it lasts.
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

TABLE = Path("tests/mutants.csv")
SOURCE = Path("src/iavit")
SECONDS = 60  # of a processor for the tests of one fault; what takes longer went unnoticed
WAITING = 10  # as long by the clock, on a machine that others use, too

COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
COMPARISONS |= {" in ": " not in ", " not in ": " in ", " is ": " is not ", " is not ": " is "}
OPERATIONS = {"+": "-", "-": "+", "*": "/", "/": "*", "//": "*", "%": "*", "**": "*", "@": "+"}
EXCHANGED = {  # names of two things that are easily taken for each other
    "train": "val", "val": "train", "test": "val", "predictor": "interpreter",
    "interpreter": "predictor", "insertion": "deletion", "deletion": "insertion", "low": "high",
    "high": "low", "width": "height", "height": "width", "min": "max", "max": "min",
    "argmax": "argmin", "argmin": "argmax", "mean": "sum", "sum": "mean", "any": "all",
    "all": "any", "x": "y", "y": "x", "rows": "columns", "columns": "rows", "lower": "upper",
    "zeros": "ones", "ones": "zeros", "logits": "probabilities", "first": "last", "last": "first",
    "predicted": "labels", "labels": "predicted", "append": "count",
}  # fmt: skip
UNWRAPPED = {  # f(x) becomes x
    "escape", "visible", "safe", "sorted", "abs", "reversed", "detach", "quote", "printable",
    "softmax", "log_softmax", "tuple_", "expanduser", "resolve", "strip", "lower", "clamp",
    "round", "sqrt", "exp", "log", "flip", "float", "double", "no_grad", "eval",
}  # fmt: skip
MODULES = {"html", "math", "torch", "np", "functional", "urllib", "parse", "shlex"}
PLAIN = {  # written beside the name and renamed becomes written in place
    "write_text(": "Path.write_text(",
    "write_bytes(": "Path.write_bytes(",
}
# The tests of modules that stand in no package of their own, and of what other packages test.
BESIDE = {
    "commands": ["tests/test_cli.py", "tests/test_mistakes.py", "tests/handover", "tests/serve"],
    "top": ["tests/test_*.py"],
    "report": ["tests/test_cli.py"],
    "serve": ["tests/handover"],
    "masking": ["tests/evaluate/test_protocols.py", "tests/explain/test_perturbation.py"],
}


@dataclass(frozen=True)
class Mutant:
    """A fault: the line it changes, which must stand in the file, and what became of it."""

    package: str
    file: str
    line: int
    kind: str
    before: str
    after: str
    result: str = ""
    by: str = ""  # the test that failed first, or why the fault changes nothing


def faults(path: Path) -> Iterator[Mutant]:
    """All faults of one file."""
    text = path.read_text()
    lines = text.splitlines()
    tree = ast.parse(text)
    package = path.relative_to(SOURCE).parts[0] if path.parent != SOURCE else "top"
    skipped = {id(inner) for node in ast.walk(tree) for inner in _unseen(node)}
    names = set(re.findall(r"\w+", text))
    for node in ast.walk(tree):
        row = getattr(node, "lineno", 0)
        ends = node.test if isinstance(node, ast.If | ast.While) else node
        if not row or id(node) in skipped or ends.end_lineno != row:  # type: ignore[attr-defined]
            continue
        line = lines[row - 1]
        for kind, start, end, put in _changes(node, line):
            if kind == "exchanged" and put.isidentifier() and put not in names | {"count"}:
                continue
            after = line[:start] + put + line[end:]
            if after != line:
                yield Mutant(package, str(path), row, kind, line, after)


def _unseen(node: ast.AST) -> Iterator[ast.AST]:
    """Annotations, imports, and what is raised: no fault that a person would make there."""
    for part in (getattr(node, "annotation", None), getattr(node, "returns", None)):
        if part is not None:
            yield from ast.walk(part)
    if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr):
        yield from ast.walk(node)
    if isinstance(node, ast.Attribute):  # settings.data.root, whole
        yield node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and _is_text(node.right):
        yield node  # a path's parts
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        yield from ast.walk(node)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _changes(node: ast.AST, line: str) -> Iterator[tuple[str, int, int, str]]:
    """Kind, the columns replaced and what is put there. Columns are bytes: lines are ASCII."""
    if not line.isascii():
        return
    start, end = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]
    match node:
        case ast.Compare(left=left, comparators=[right]):
            yield from _between(line, left, right, COMPARISONS, "comparison")
        case ast.BinOp(left=left, right=right) if not isinstance(left, ast.JoinedStr):
            yield from _between(line, left, right, OPERATIONS, "sign")
        case ast.BoolOp(values=[left, right]):
            yield from _between(line, left, right, {" and ": " or ", " or ": " and "}, "condition")
        case ast.UnaryOp(operand=operand):
            yield "sign", start, operand.col_offset, ""
        case ast.AugAssign(target=target, value=value):
            yield from _between(line, target, value, {"+=": "-=", "-=": "+=", "*=": "/="}, "sign")
        case ast.Constant(value=bool(value)):
            yield "constant", start, end, str(not value)
        case ast.Constant(value=int(value)):
            yield "constant", start, end, str(value + 1)
        case ast.Constant(value=float(value)):
            yield "constant", start, end, repr(value * 2 + (value == 0))
        case ast.Attribute(attr=name) if name in EXCHANGED:
            yield "exchanged", end - len(name), end, EXCHANGED[name]
        case ast.Attribute() if re.match(r"(self\.)?(options|config|settings)\.", line[start:end]):
            yield "option ignored", start, end, "None"
        case ast.Name(id=name) if name in EXCHANGED:
            yield "exchanged", start, end, EXCHANGED[name]
        case ast.Constant(value=str(name)) if name in EXCHANGED:
            yield "exchanged", start + 1, end - 1, EXCHANGED[name]
        case ast.IfExp(test=test) | ast.If(test=test):
            yield "condition", test.col_offset, test.end_col_offset or 0, "False"
        case ast.Return(value=ast.Tuple(elts=[left, right])):
            yield (
                "exchanged",
                left.col_offset,
                right.end_col_offset or 0,
                (
                    f"{line[right.col_offset : right.end_col_offset]}, "
                    f"{line[left.col_offset : left.end_col_offset]}"
                ),
            )
        case ast.Expr(value=ast.Call()):
            yield "left out", start, end, "pass"
        case ast.Call(func=function, args=arguments, keywords=keywords):
            for keyword in keywords:
                if keyword.arg:
                    yield "argument dropped", *_with_comma(line, keyword), ""
            name = getattr(function, "attr", getattr(function, "id", ""))
            if name in UNWRAPPED and (arguments or isinstance(function, ast.Attribute)):
                module = isinstance(function, ast.Name) or (
                    isinstance(function.value, ast.Name)  # type: ignore[attr-defined]
                    and function.value.id in MODULES  # type: ignore[attr-defined]
                )
                inner = arguments[0] if module and arguments else getattr(function, "value", None)
                if inner is not None:
                    kept = line[inner.col_offset : inner.end_col_offset]
                    yield "unwrapped", start, end, kept if kept.isidentifier() else f"({kept})"
            for atomic, plain in PLAIN.items():
                if line.startswith(atomic, start):
                    yield "plain write", start, start + len(atomic), plain
        case _:
            return


def _between(
    line: str, left: ast.expr, right: ast.expr, exchange: dict[str, str], kind: str
) -> Iterator[tuple[str, int, int, str]]:
    start, end = left.end_col_offset or 0, right.col_offset
    between = line[start:end]
    for word in sorted(exchange, key=len, reverse=True):
        if word.strip() == between.strip(" ()"):
            yield kind, start, end, between.replace(word.strip(), exchange[word].strip())
            return


def _with_comma(line: str, keyword: ast.keyword) -> tuple[int, int]:
    """The columns of a keyword argument and of one comma."""
    start, end = keyword.col_offset, keyword.end_col_offset or 0
    if after := re.match(r",\s*", line[end:]):
        return start, end + after.end()
    before = re.search(r",\s*$", line[:start])
    return (before.start() if before else start), end


def draw(count: int, seed: int) -> list[Mutant]:
    """As many of each package, and within it of each kind, as there are."""
    chosen: list[Mutant] = []
    drawn = random.Random(seed)
    by_package: dict[str, list[Mutant]] = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for fault in faults(path):
            by_package[fault.package].append(fault)
    packages = sorted(by_package)
    for place, package in enumerate(packages):
        share = count // len(packages) + (place < count % len(packages))
        kinds: dict[str, list[Mutant]] = defaultdict(list)
        for fault in by_package[package]:
            kinds[fault.kind].append(fault)
        for each in kinds.values():
            drawn.shuffle(each)
        lines: set[tuple[str, int]] = set()
        while share and any(kinds.values()):
            for kind in drawn.sample(sorted(kinds), len(kinds)):
                found = next((f for f in kinds[kind] if (f.file, f.line) not in lines), None)
                if found is None or not share:
                    kinds[kind] = []
                    continue
                kinds[kind].remove(found)
                lines.add((found.file, found.line))
                chosen.append(found)
                share -= 1
    drawn.shuffle(chosen)
    return chosen


def tests_of(fault: Mutant, wide: bool) -> list[str]:
    """Test files, the nearest first: the module's, the package's, and those beside it."""
    name = Path(fault.file).stem
    if fault.package == "commands" and not wide:
        return ["tests/commands", "tests/test_cli.py", "tests/test_mistakes.py", "-k", name]
    own = Path("tests") / ("" if fault.package == "top" else fault.package)
    first = [own / f"test_{name}.py"] if (own / f"test_{name}.py").is_file() else []
    rest = [] if fault.package == "top" and first and not wide else sorted(own.glob("test_*.py"))
    if first and not wide:
        rest = []
    beside = BESIDE.get(fault.package, []) if wide or not first else []
    more = [path for pattern in beside for path in sorted(Path().glob(pattern))]
    return [str(path) for path in dict.fromkeys([*first, *rest, *more])]


def noticed(fault: Mutant, place: Path, wide: bool, seconds: int) -> tuple[str, str]:
    """Plant a fault in the copy and run its tests: the result, and by which test."""
    path = place / fault.file
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    rows = [row for row, line in enumerate(lines) if line.rstrip("\n") == fault.before]
    if not rows:
        return "gone", ""
    row = min(rows, key=lambda row: abs(row + 1 - fault.line))
    lines[row] = fault.after + "\n"
    path.write_text("".join(lines))
    try:
        return _tested(place, tests_of(fault, wide), seconds)
    finally:
        path.write_text(whole)


def _tested(place: Path, files: list[str], seconds: int) -> tuple[str, str]:
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
            first = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.M)
            code = os.waitstatus_to_exitcode(status)
            if code in (0, 5):  # none failed; none there
                return "unnoticed", ""
            if code == -signal.SIGXCPU:
                return "unnoticed", f"ran {seconds} seconds"
            return "noticed", first.group(1) if first else text[-200:].replace("\n", " ")
        time.sleep(0.05)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return "unnoticed", f"ran {seconds} seconds"


def _test(place: Path, files: list[str], output: Path) -> int:
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
    quiet = ["-q", "--no-header", "-p", "no:cacheprovider"]
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


def run(results: list[str], wide: bool, seconds: int) -> None:
    """Run the faults of these results, keeping the table after each."""
    # Heavy, once for all processes.
    for name in ("captum.attr", "lightning", "matplotlib.pyplot", "sklearn.metrics", "timm"):
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve() / "tree"
        names = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
        for name in names.stdout.splitlines():
            if Path(name).is_file():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(name, place / name)
        sound: dict[tuple[str, ...], bool] = {}  # whether tests pass where there is no fault
        for number, fault in enumerate(read()):
            if fault.result not in results:
                continue
            started = time.monotonic()
            tests = tests_of(fault, wide)
            if tuple(tests) not in sound:
                without = _tested(place, tests, seconds)
                sound[tuple(tests)] = without == ("unnoticed", "")
                if not sound[tuple(tests)]:
                    print(f"{' '.join(tests)}: fail without a fault: {without[1]}", flush=True)
            if not sound[tuple(tests)]:  # they cannot tell
                continue
            result, by = noticed(fault, place, wide, seconds)
            table = read()  # what was judged by hand meanwhile stays
            table[number] = replace(fault, result=result, by=by)
            save(table)
            took = time.monotonic() - started
            print(f"{number} {fault.file}:{fault.line} {result} {by} ({took:.0f} s)", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("draw", "run", "summary"))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--results", default="", help="of which faults: 'unnoticed', say")
    parser.add_argument("--wide", action="store_true", help="all test files of the package")
    parser.add_argument("--seconds", type=int, default=SECONDS)
    options = parser.parse_args()
    if options.action == "draw":
        save(draw(options.count, options.seed))
    elif options.action == "run":
        run(options.results.split(","), options.wide, options.seconds)
    if options.action != "draw":
        print(summary(read()))
