"""Lines on a console of whoever calls."""

from __future__ import annotations

from rich.console import Console


def say(console: Console, line: str) -> None:
    """Print a line as it stands: names are no markup, nothing is coloured, nothing broken."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
