"""`iavit card`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from iavit.commands.command import Command
from iavit.console import say


def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What may be chosen."""
    parser.add_argument("run", type=Path, help="run directory, or folder of a model")
    parser.add_argument("--output", type=Path, help="folder: RUN/card")
    section = parser.add_argument_group("What no measurement says")
    section.add_argument("--provider", type=str, help="who answers for it, contact")
    section.add_argument("--purpose", type=str, help="what it is meant to be used for")
    section.add_argument("--licence", type=str, help="of the weights, such as mit")


def execute(options: Namespace) -> None:
    """Write README.md and card.html: the model's card for the hub, and as a page."""
    from iavit.files import make_folder, write_text
    from iavit.handover.card import Statement, card_page
    from iavit.handover.classifier import load

    loaded = load(options.run)
    statement = Statement(options.provider, options.purpose, options.licence)
    card = loaded.card(loaded.folder.resolve().name, statement)
    folder = make_folder(options.output or loaded.folder / "card")
    write_text(folder / "README.md", str(card))
    write_text(folder / "card.html", card_page(card))
    if loaded.evaluation is None:
        say("Nothing was measured, and the card says so; measure with iavit evaluate.")
    say(f"Look at {folder / 'card.html'}")


COMMAND = Command("the model card, from what was measured", add_options, execute)
