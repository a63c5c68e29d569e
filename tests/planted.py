"""One-line faults that a person could make, of any file of the package, and a draw of them."""

from __future__ import annotations

import ast
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path("src/iavit")

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
        case ast.UnaryOp(operand=operand) if line[operand.col_offset - 1] != "(":
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


def redraw(table: Sequence[Mutant], seed: int) -> list[Mutant]:
    """Another fault, of the same package and kind, in place of each whose line is gone."""
    drawn = random.Random(seed)
    known = {(fault.file, fault.before) for fault in table}
    there = [fault for path in sorted(SOURCE.rglob("*.py")) for fault in faults(path)]
    drawn.shuffle(there)
    made = []
    for fault in table:
        path = Path(fault.file)
        if not path.is_file() or fault.before not in path.read_text().splitlines():
            fresh = [
                other
                for other in there
                if other.package == fault.package and (other.file, other.before) not in known
            ]
            fault = next((other for other in fresh if other.kind == fault.kind), fresh[0])
            known.add((fault.file, fault.before))
        made.append(fault)
    return made
