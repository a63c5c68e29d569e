"""`iavit card`: what it writes; the card's figures are in handover/test_card."""

from __future__ import annotations

from pathlib import Path

import pytest

from iavit.cli import main
from tests import report


def test_both_forms_say_what_was_measured_and_what_the_provider_states(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, folder = tmp_path / "pets", tmp_path / "card"
    report.tiny_run(run)
    options = ["--provider", "Ada", "--purpose", "sorting", "--licence", "mit"]
    assert main(["card", str(run), "--output", str(folder), *options]) == 0
    assert capsys.readouterr().out == f"Look at {folder}/card.html\n"
    text, page = (folder / "README.md").read_text(), (folder / "card.html").read_text()
    assert "\nlicense: mit\n" in text
    for said in (text, page):
        assert "93.1 % (91.9 % to 94.4 %)" in said.replace("\N{NO-BREAK SPACE}", " ")
        assert "Ada" in said
        assert "sorting" in said
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "card.html"]


def test_a_run_that_was_not_measured_has_a_card_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.tiny_run(tmp_path)
    (tmp_path / "evaluation.json").unlink()
    assert main(["card", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Nothing was measured, and the card says so; measure with iavit evaluate.",
        f"Look at {tmp_path}/card/card.html",
    ]
    assert "%" not in (tmp_path / "card" / "README.md").read_text().split("\n## ")[1]
