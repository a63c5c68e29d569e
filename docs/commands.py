"""Hook of mkdocs: writes every command's options into the page `reference/commands.md`.

They are read off the parsers when the site is built, so the page cannot be behind them.
"""

from __future__ import annotations

import os
from typing import Any

from jsonargparse import ArgumentParser

from iavit.commands import COMMANDS

WIDTH = 84  # columns of the help: what a code block of the site shows


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """The page of commands with a section for each."""
    if page.file.src_uri != "reference/commands.md":
        return markdown
    return "\n\n".join([markdown, *(section(name) for name in COMMANDS)])


def section(name: str) -> str:
    """A heading, the summary, and the help with all options."""
    command = COMMANDS[name]
    parser = ArgumentParser(prog=f"iavit {name}")
    command.add_options(parser, ["--help-all"])
    os.environ["COLUMNS"] = str(WIDTH)
    return f"## {name}\n\n{command.summary}\n\n```text\n{parser.format_help().strip()}\n```"
