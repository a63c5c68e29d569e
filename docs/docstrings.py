"""Docstrings as this package writes them, as Markdown for the site: read by mkdocstrings.

A docstring names a parameter or a field at the start of a line, `steps: how many`, as one reads it
in an editor. Markdown would run such lines together, so they are made a list.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

# A name or several, a colon, and words; longer lines go on indented.
ENTRY = re.compile(r"^(\*{0,2}[a-z_]\w*(?:, \*{0,2}[a-z_]\w*)*): (?=\S)")


def as_markdown(text: str) -> str:
    """The docstring with its entries as a list and its examples as code."""
    lines: list[str] = []
    listing = False
    for line in text.splitlines():
        entry = ENTRY.match(line)
        if entry:
            if not listing:
                lines.append("")
            names = ", ".join(f"`{name}`" for name in entry[1].split(", "))
            line = f"- {names}: {line[entry.end() :]}"
        elif listing and line and not line.startswith(" "):
            lines.append("")  # the list is over
        if line == "Example:":
            line = "Example:\n"
        listing = bool(entry) or (listing and (not line or line.startswith(" ")))
        lines.append(line)
    return "\n".join(lines)


class Docstrings(griffe.Extension):
    """Turns each docstring of the package into Markdown when it has been read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
