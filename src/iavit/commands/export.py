"""`iavit export`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.commands.selection import load_run
from iavit.console import console, say
from iavit.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from iavit.handover.quantise import Change
    from iavit.training.directory import Run


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("file", type=Path, nargs="?", help="the graph's file, ending in .onnx")
    parser.add_argument("--web", type=Path, help="folder: a page that runs the model in a browser")
    parser.add_argument(
        "--pixels", action="store_true", help="take uint8 pixels (B, H, W, 3), normalised inside"
    )
    parser.add_argument(
        "--int8", action="store_true", help="weights in 8 bits, and what that changes, measured"
    )
    parser.add_argument(
        "--images", type=int, default=1000, help="test images that the change is measured on"
    )


def execute(options: Namespace) -> None:
    """Write the run's model as one ONNX graph, alone or with a page that runs it."""
    from iavit.handover.export import export_onnx

    if (options.file is None) == (options.web is None):
        raise UserError("name a file for the graph, FILE.onnx, or a folder for a page, --web DIR")
    if options.web is not None:
        _export_web(options)
        return
    if options.images < 1:
        raise UserError(f"`images` is {options.images}; it must be at least 1")
    run = load_run(options.run, "cpu")
    if options.int8:
        if options.pixels:
            raise UserError("`int8` is measured on normalised images; leave `pixels` out")
        _export_int8(run, options.file, options.images)
    else:
        export_onnx(run.saved, options.file, pixels=options.pixels)
    say(f"{options.file} has {options.file.stat().st_size / 1e6:.1f} MB")


def _export_web(options: Namespace) -> None:
    from iavit.handover.web import export_page

    if options.int8 or options.pixels:
        raise UserError("a page runs the graph as it is; leave `int8` and `pixels` out")
    weight = export_page(load_run(options.run, "cpu").saved, options.web)
    say(
        f"{options.web} has {weight / 1e6:.1f} MB; look at it: "
        f"python3 -m http.server --directory {options.web}"
    )


def _export_int8(run: Run, file: Path, count: int) -> None:
    """Write the graph in 8 bits, and print what that changes."""
    from tempfile import TemporaryDirectory

    from iavit.data.datasets import load_dataset
    from iavit.data.sampling import sample
    from iavit.handover.export import check_path, export_onnx
    from iavit.handover.quantise import measure_change, quantise

    check_path(file)
    images = load_dataset(run.config).test
    with TemporaryDirectory() as folder:
        whole = Path(folder) / "float32.onnx"
        export_onnx(run.saved, whole)
        quantise(whole, file)
        changes = measure_change(whole, file, sample(images, count))
        say(f"In 32 bits it has {whole.stat().st_size / 1e6:.1f} MB.")
    console().print(_table(changes))


def _table(changes: Mapping[str, Change]) -> Table:
    from rich.table import Table

    from iavit.report.cells import between, heading, number

    table = Table("measure", "32 bits", "8 bits", "change", "95 % interval of the change")
    for name, found in changes.items():
        table.add_row(
            heading(name),
            number(found.before.mean),
            number(found.after.mean),
            number(found.change.mean, plus=True),
            between(found.change),
        )
    return table


COMMAND = Command("the model as one ONNX graph, for any runtime", add_options, execute)
