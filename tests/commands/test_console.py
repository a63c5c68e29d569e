"""What a person sees of a command while it runs."""

from __future__ import annotations

import pytest

from iavit.commands.console import say


def test_names_are_neither_markup_nor_orders_to_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say("run [exp] 1 [/x] :smile: \x1b[31mred\x07\nnext")
    assert capsys.readouterr().out == "run [exp] 1 [/x] :smile: \\x1b[31mred\\x07\nnext\n"
