"""What a person sees of a command while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from iavit.evaluate.audit import Progress


def console() -> Console:
    """Standard output, for tables and bars; what stands in a name is read as no markup."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def say(line: str) -> None:
    """Print a line that is not broken, so that its paths can be copied."""
    console().print(visible(line), soft_wrap=True)


def visible(text: str) -> str:
    """Text with escapes in place of characters that steer a terminal, line breaks aside."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text
    )


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
