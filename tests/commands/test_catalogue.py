"""`iavit list`: the names that options take."""

from __future__ import annotations

import pytest

from iavit.cli import main


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("explainers", "--explainers quick map"),
        ("explainers", "rise no The mean mask, each weighted"),
        ("explainers", "rollout yes What the head reads, followed back"),
        ("metrics", "measure better measured meaning"),
        ("backbones", "--backbone"),
        ("metrics", "deletion                   lower    always"),
        ("metrics", "road                       higher   --metrics road"),
        ("backbones", "vit_small_patch16_224"),
    ],
)
def test_names_that_options_take_are_listed(
    what: str, line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert main(["list", what]) == 0
    printed = [" ".join(row.split()) for row in capsys.readouterr().out.splitlines()]
    assert any(row.startswith(" ".join(line.split())) for row in printed)
    assert not any(row.startswith("swin") for row in printed)  # refused, and so not offered
