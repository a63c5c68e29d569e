"""What a person sees of a command while it runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from iavit.commands import console
from iavit.commands.console import say
from iavit.evaluate.pieces import KEPT


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


@pytest.mark.parametrize(
    ("wanted", "terminal", "shown"),
    [(True, True, True), (False, True, False), (True, False, False)],
)
def test_a_bar_is_there_where_somebody_looks_and_gone_afterwards(
    wanted: bool, terminal: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    made = Console(file=screen, force_terminal=terminal, width=120)
    monkeypatch.setattr(console, "console", lambda: made)
    with console.progress(wanted) as report:
        report("rise", 0.25)
    assert ("a trial of each explainer" in screen.getvalue()) is shown
    assert (" 25%" in screen.getvalue()) is shown
    assert screen.getvalue().endswith("\x1b[2K" if shown else "")
    assert shown or not screen.getvalue().strip()


def test_the_time_left_is_that_of_all_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half was done before; then an eighth every ten seconds, until one is left."""
    screen, now = io.StringIO(), 0.0
    terminal = Console(file=screen, force_terminal=True, width=120, get_time=lambda: now)
    monkeypatch.setattr(console, "console", lambda: terminal)
    with console.progress() as report:
        report(KEPT, 0.5)
        for _ in range(3):
            now += 10.0
            report("rise", 0.125)
        report("rollout", 0.0)
    last = screen.getvalue()
    assert "88%" in last
    assert "0:00:10" in last
    assert "rollout" in last
