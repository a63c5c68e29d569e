"""What the pages of the docs show: their Python, their command lines, their links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Records of their day: their commands are of the version that they name.
HISTORY = ("CHANGELOG.md", "docs/dev/log.md")
PAGES = tuple(
    path.relative_to(ROOT).as_posix()
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
)
SHOWN = tuple(page for page in PAGES if page not in HISTORY)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
PROGRAMS = ("iavit", "make", "python", "python3", "torchrun", "pip", "curl", "cp")


def text(page: str) -> str:
    """A page as it stands."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, *languages: str) -> list[str]:
    """The page's fenced code in these languages."""
    return [code for language, code in _FENCE.findall(text(page)) if language in languages]


def command_lines(page: str) -> list[list[str]]:
    """The words of every command line on a page, in blocks and in running text."""
    lines: list[str] = []
    for block in blocks(page, "sh", "bash", "console"):
        lines += block.replace("\\\n", " ").splitlines()
    spans = _SPAN.findall(_FENCE.sub("", text(page)))
    lines += [" ".join(span.split()) for span in spans if span.split()[:1] != span.split()]
    found: list[list[str]] = []
    for line in lines:
        if line.split(maxsplit=1)[:1] and line.split()[0] in PROGRAMS:
            found += _commands(line)
    return found


def _commands(line: str) -> list[list[str]]:
    """A line's commands: comments go, and what follows `&&` is one of its own."""
    words = shlex.split(line, comments=True)
    commands: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", ";"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [command for command in commands if command]


def links(page: str) -> list[str]:
    """Where a page's links and pictures lead."""
    return _LINK.findall(_FENCE.sub("", text(page)))


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as forges and the site make them."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", text(page)), re.MULTILINE)
    return {
        re.sub(r"[ -]+", "-", re.sub(r"[^\w\- ]", "", title.lower())).strip("-") for title in titles
    }
