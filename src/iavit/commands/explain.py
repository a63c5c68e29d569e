"""`iavit explain`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.commands.selection import choose_explainers, load_run
from iavit.errors import UserError


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("run", type=Path, help="run directory")
    parser.add_argument("images", type=Path, nargs="+", help="image files of any size")
    parser.add_argument("--explainer", type=str, default="interpreter", help="explainer to draw")
    parser.add_argument("--output", type=Path, default=None, help="folder: RUN/explanations")
    parser.add_argument("--device", type=str, default="auto", help="cpu, cuda, ...")


def execute(options: Namespace) -> None:
    """Write an overlay picture and print a JSON line for each image."""
    from iavit.data.decoding import read_image
    from iavit.report.overlay import explain_images

    chosen = list(choose_explainers(options.explainer, "explainer").values())
    if len(chosen) > 1:
        raise UserError(f"`explainer` {options.explainer}: name a single one")
    explainer = chosen[0]
    run = load_run(options.run, options.device)
    pictures = {path: read_image(path) for path in options.images}  # all, before any is written
    folder = options.output or run.folder / "explanations"
    for line in explain_images(run.saved, pictures, explainer, folder):
        print(json.dumps(line, ensure_ascii=False))


COMMAND = Command("explain the predictions of image files", add_options, execute)
