"""What the command line can do: `COMMANDS`, a file a command.

Light to import, so that `--help` does not wait: a command imports what is heavy when it runs.
A command of one's own is a file with its options and what it does, and a line here.
"""

from __future__ import annotations

from iavit.commands import (
    attach,
    card,
    catalogue,
    datasets,
    demo,
    evaluate,
    explain,
    export,
    report,
    reproduce,
    serve,
    train,
)
from iavit.commands.command import Command

COMMANDS: dict[str, Command] = {
    "demo": demo.COMMAND,
    "datasets": datasets.COMMAND,
    "list": catalogue.COMMAND,
    "train": train.COMMAND,
    "attach": attach.COMMAND,
    "evaluate": evaluate.COMMAND,
    "explain": explain.COMMAND,
    "report": report.COMMAND,
    "export": export.COMMAND,
    "card": card.COMMAND,
    "serve": serve.COMMAND,
    "reproduce": reproduce.COMMAND,
}
