"""What a training says stands on any console as it was said."""

from __future__ import annotations

import io

from rich.console import Console

from iavit.training.console import say


def test_a_line_is_neither_coloured_nor_broken_nor_read_as_markup() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=20, force_terminal=True, color_system="truecolor")
    line = "step 3 of [bold]'a run'[/bold] in /a/folder/of/a/long/name, True"
    say(console, line)
    assert screen.getvalue() == f"{line}\n"
