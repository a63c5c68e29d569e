"""What is said stands on a terminal as it was said."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from iavit.console import say


def test_names_are_neither_markup_nor_orders_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("run [exp] 1 [/x] :smile: \x1b[31mred\x07\nnext")
    assert capsys.readouterr().out == "run [exp] 1 [/x] :smile: \\x1b[31mred\\x07\nnext\n"


def test_a_line_is_one_line_and_has_no_colours_on_any_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    line = "Look at /somewhere/far/away/in 'a folder' of 3 other folders/with a name/index.html"
    say(line)
    assert capsys.readouterr().out == f"{line}\n"


def test_the_console_of_whoever_calls_changes_nothing_of_it() -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=20, force_terminal=True, color_system="truecolor")
    say("step 3 of [bold]'a run'[/bold] in /a/folder/of/a/long/name, True :dog: \x1b[31m", console)
    line = "step 3 of [bold]'a run'[/bold] in /a/folder/of/a/long/name, True :dog: \\x1b[31m"
    assert screen.getvalue() == f"{line}\n"
