"""How far a command is, while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from iavit.console import console

if TYPE_CHECKING:
    from iavit.evaluate.audit import Progress


@contextmanager
def progress(wanted: bool = True) -> Iterator[Progress]:
    """A bar with what is being done and the time left; nothing where there is no terminal."""
    from rich.progress import Progress as Bar
    from rich.progress import TextColumn, TimeRemainingColumn

    from iavit.evaluate.pieces import KEPT

    shown = console()
    bar = Bar(
        *Bar.get_default_columns()[:3],
        TimeRemainingColumn(),
        TextColumn("{task.fields[doing]}"),
        console=shown,
        transient=True,
        disable=not (wanted and shown.is_terminal),
    )
    with bar:
        task = bar.add_task("evaluate", total=1.0, doing="a trial of each explainer")

        def report(doing: str, part: float) -> None:
            if doing == KEPT:  # took no time now: what is left is estimated from here on
                part += bar.tasks[0].completed
                bar.reset(task)
            bar.update(task, advance=part, doing=doing)

        yield report
