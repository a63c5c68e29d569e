"""What the pages name is there: files, and names of the package.

The log and the changelog are left out: they speak of what was.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for path in sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))
    if path.name not in ("log.md", "CHANGELOG.md") and "results" not in path.parts
]
PACKAGE = ROOT / "src" / "iavit"
ENDINGS = {"csv", "json", "md", "html", "js", "npz", "onnx", "py", "safetensors", "yaml"}
FILE = re.compile(r"[\w-]+(?:/[\w.-]+)+\.(?:py|md|js|css|html|toml|json)\b")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def quoted(page: Path) -> list[str]:
    """What stands in backticks, and in blocks of code."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"```.*?\n(.*?)```", text, re.DOTALL) + re.findall(
        r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    )


def is_there(name: str, page: Path) -> bool:
    folders = (ROOT, ROOT / "src", ROOT / "src" / "iavit", page.parent)
    return any((folder / name).exists() for folder in folders)


@pages
def test_files_that_are_named_are_there(page: Path) -> None:
    texts = (re.sub(r"--(json|output) \S+", "", text) for text in quoted(page))  # to be written
    named = {name for text in texts for name in FILE.findall(text)}
    named = {name for name in named if not name.startswith(("runs/", "report/", "RUN/"))}
    assert {name for name in named if not is_there(name, page)} == set()


def found(name: str) -> bool:
    """Whether `iavit.a.b.c` leads somewhere: a module, or what one holds."""
    words = name.split(".")
    for count in range(len(words), 0, -1):
        try:
            thing: object = importlib.import_module(".".join(words[:count]))
        except ModuleNotFoundError:
            continue
        for word in words[count:]:
            if not hasattr(thing, word):
                return False
            thing = getattr(thing, word)
        return True
    return False


@pages
def test_names_of_the_package_that_are_named_are_there(page: Path) -> None:
    named = {
        name
        for text in quoted(page)
        for name in re.findall(r"(?<![\w.`/-])iavit(?:\.[A-Za-z_]\w*)+", text)
    }
    assert {name for name in named if not found(name)} == set()


@pages
def test_tests_that_are_named_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), name


@pages
def test_functions_that_are_named_with_their_module_are_there(page: Path) -> None:
    """As in `statistics.interval`; a file of a run, such as `model.safetensors`, is none."""
    named = {text for text in quoted(page) if re.fullmatch(r"(?!iavit)[a-z_]+\.[a-z_]+", text)}
    missing = set()
    for name in named:
        module, word = name.split(".")
        paths = [path for path in PACKAGE.rglob(f"{module}.py") if word not in ENDINGS]
        if paths and not any(found(f"{dotted(path)}.{word}") for path in paths):
            missing.add(name)
    assert missing == set()


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
