"""How far a command is, while it runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from iavit.commands import progress
from iavit.evaluate.pieces import KEPT


@pytest.mark.parametrize(
    ("wanted", "terminal", "shown"),
    [(True, True, True), (False, True, False), (True, False, False)],
)
def test_a_bar_is_there_where_somebody_looks_and_gone_afterwards(
    wanted: bool, terminal: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    made = Console(file=screen, force_terminal=terminal, width=120)
    monkeypatch.setattr(progress, "console", lambda: made)
    with progress.progress(wanted) as report:
        report("rise", 0.25)
    assert ("a trial of each explainer" in screen.getvalue()) is shown
    assert (" 25%" in screen.getvalue()) is shown
    assert screen.getvalue().endswith("\x1b[2K" if shown else "")
    assert shown or not screen.getvalue().strip()


def test_the_time_left_is_that_of_all_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half was done before; then an eighth every ten seconds, until one is left."""
    screen, now = io.StringIO(), 0.0
    terminal = Console(file=screen, force_terminal=True, width=120, get_time=lambda: now)
    monkeypatch.setattr(progress, "console", lambda: terminal)
    with progress.progress() as report:
        report(KEPT, 0.5)
        for _ in range(3):
            now += 10.0
            report("rise", 0.125)
        report("rollout", 0.0)
    last = screen.getvalue()
    assert "88%" in last
    assert last.count("0:00:10") == last.count("rollout") == 1
    assert "rollout" in last
