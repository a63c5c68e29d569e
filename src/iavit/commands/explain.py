"""`iavit explain`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.commands.selection import choose, choose_explainers, find_device, share_work
from iavit.errors import UserError

if TYPE_CHECKING:
    from rich.progress import Progress


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("run", type=str, help="run directory, folder of a model, or hf-hub:NAME")
    parser.add_argument(
        "images", type=Path, nargs="+", help="image files of any size, folders, patterns"
    )
    parser.add_argument("--target", type=str, help="class to explain, by name or number: predicted")
    parser.add_argument(
        "--explainer", type=str, default="contributions", help="names a,b, quick or all"
    )
    parser.add_argument(
        "--format", type=str, default="png", help="what to write: png,json,npz, any of them"
    )
    parser.add_argument("--output", type=Path, help="folder: RUN/explanations")
    parser.add_argument("--device", type=str, default="auto", help="cpu, cuda, ...")
    parser.add_argument(
        "--devices",
        type=str,
        default="1",
        help="processes that share the images: a number, or auto",
    )


def execute(options: Namespace) -> None:
    """Write each image's explanation and print a JSON line for it."""
    import torch

    from iavit.files import make_folder
    from iavit.handover.classifier import load
    from iavit.handover.explaining import TOGETHER, explain_pictures
    from iavit.handover.targets import class_index
    from iavit.handover.writing import (
        ENDINGS,
        find_pictures,
        name_explanations,
        read_pictures,
        write_explanations,
    )

    processes = share_work(options.devices, options.device, "give the same command again")
    if processes is None:
        return
    explainers = tuple(choose_explainers(options.explainer, "explainer"))
    formats = choose("format", options.format, ENDINGS)
    loaded = load(options.run)
    loaded.model.to(find_device(options.device))
    if options.target is not None:
        class_index(loaded.classes, options.target)  # refused before anything is written
    paths = find_pictures(options.images)
    folder = make_folder(options.output or loaded.folder / "explanations")
    several = len(explainers) > 1
    starts = [f"-{name}" for name in explainers] if several else [""]
    endings = [f"{start}{ENDINGS[form]}" for start in starts for form in formats]
    names = name_explanations([str(path) for path in paths], folder, endings)
    processes.plan(lambda: "nothing is wrong")

    def explain(number: int) -> str:
        """The facts of some images, and what is wrong with those that cannot be read."""
        torch.manual_seed(number)
        some = paths[number * TOGETHER : (number + 1) * TOGETHER]
        unreadable: list[str] = []
        pictures = read_pictures(some, loaded.saved.normalisation.pixel_range, unreadable)
        explained = explain_pictures(
            loaded.saved,
            pictures,
            target=options.target,
            explainers=explainers,
            sufficient=loaded.sufficient,
        )
        written = write_explanations(
            explained, folder, names, formats=formats, name_explainer=several
        )
        return json.dumps([list(written), unreadable])

    unreadable: list[str] = []
    with _bar(len(paths) * len(explainers), processes.first) as bar:
        for text in processes.in_order(-(-len(paths) // TOGETHER), explain):
            written, wrong = json.loads(text)
            for facts in written:
                print(json.dumps(facts, ensure_ascii=False), flush=True)
                bar.advance(bar.task_ids[0])
            unreadable += wrong
    processes.finish()
    if unreadable:
        raise UserError(
            f"{len(unreadable)} of {len(paths)} images were left out: {'; '.join(unreadable[:3])}"
        )


@contextmanager
def _bar(total: int, wanted: bool) -> Iterator[Progress]:
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
    disable = not (wanted and console.is_terminal)
    with Progress(*columns, console=console, disable=disable) as bar:
        bar.add_task("explain", total=total)
        yield bar


COMMAND = Command("explain the predictions of image files", add_options, execute)
