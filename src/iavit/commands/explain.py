"""`iavit explain`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.commands.selection import choose, choose_explainers, find_device
from iavit.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("run", type=str, help="run directory, folder of a model, or hf-hub:NAME")
    parser.add_argument(
        "images", type=Path, nargs="+", help="image files of any size, folders, patterns"
    )
    parser.add_argument(
        "--target", type=str, default=None, help="class to explain, by name or number: predicted"
    )
    parser.add_argument(
        "--explainer", type=str, default="contributions", help="names a,b, quick or all"
    )
    parser.add_argument(
        "--format", type=str, default="png", help="what to write: png,json,npz, any of them"
    )
    parser.add_argument("--output", type=Path, default=None, help="folder: RUN/explanations")
    parser.add_argument("--device", type=str, default="auto", help="cpu, cuda, ...")


def execute(options: Namespace) -> None:
    """Write each image's explanation and print a JSON line for it."""
    from iavit.files import make_folder
    from iavit.handover.classifier import load
    from iavit.handover.explaining import explain_pictures
    from iavit.handover.targets import class_index
    from iavit.handover.writing import ENDINGS, find_pictures, read_pictures, write_explanations

    explainers = tuple(choose_explainers(options.explainer, "explainer"))
    formats = choose("format", options.format, ENDINGS)
    loaded = load(options.run)
    loaded.model.to(find_device(options.device))
    if options.target is not None:
        class_index(loaded.classes, options.target)  # refused before anything is written
    paths = find_pictures(options.images)
    folder = make_folder(options.output or loaded.folder / "explanations")
    unreadable: list[str] = []
    pictures = read_pictures(paths, loaded.saved.normalisation.pixel_range, unreadable)
    explained = explain_pictures(
        loaded.saved,
        pictures,
        target=options.target,
        explainers=explainers,
        sufficient=loaded.sufficient,
    )
    several = len(explainers) > 1
    with _bar(len(paths) * len(explainers)) as bar:
        for facts in write_explanations(
            explained, folder, formats=formats, name_explainer=several, kept=paths
        ):
            print(json.dumps(facts, ensure_ascii=False))
            bar.advance(bar.task_ids[0])
    if unreadable:
        raise UserError(
            f"{len(unreadable)} of {len(paths)} images were left out: {'; '.join(unreadable[:3])}"
        )


@contextmanager
def _bar(total: int) -> Iterator[Progress]:
    """How many are done, and how many a second; on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f} images a second")

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        bar.add_task("explain", total=total)
        yield bar


COMMAND = Command("explain the predictions of image files", add_options, execute)
