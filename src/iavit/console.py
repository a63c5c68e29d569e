"""Lines that a person reads while something runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Standard output, for tables and bars; what stands in a name is read as no markup."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def say(line: str, on: Console | None = None) -> None:
    """Print a line as it stands: names are no markup and no orders, and paths can be copied.

    on: the console of whoever calls; by default standard output.
    """
    shown = console() if on is None else on
    shown.print(visible(line), markup=False, emoji=False, highlight=False, soft_wrap=True)


def visible(text: str) -> str:
    """Text with escapes in place of characters that steer a terminal, line breaks aside."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text
    )
