"""What a command is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jsonargparse import ArgumentParser, Namespace


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    summary: its line in `iavit --help`.
    add_options: adds its options to a parser; takes the words of the command line, as defaults may
        depend on them.
    execute: does it, with the options as they were parsed.
    """

    summary: str
    add_options: Callable[[ArgumentParser, Sequence[str]], None]
    execute: Callable[[Namespace], None]
