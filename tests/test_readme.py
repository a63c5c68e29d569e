"""What the front page shows: its Python runs, and its commands are those that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from iavit.commands import COMMANDS

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_first_snippet_explains_a_picture(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/demo").symlink_to(tiny_run)
    Image.effect_noise((40, 30), 60).convert("RGB").save("photo.jpg")
    names: dict[str, Any] = {}
    exec(PYTHON[0], names)
    assert names["seen"].predicted in {str(digit) for digit in range(10)}
    assert names["seen"].contributions("7").shape == (8, 8)
    with Image.open("overlay.png") as overlay:
        overlay.verify()


def test_the_second_explains_a_transformer_and_leaves_it_as_it_is() -> None:
    names: dict[str, Any] = {}
    exec(PYTHON[1], names)
    vit, model, images = names["vit"], names["model"], names["images"]
    assert names["maps"].shape == (4, 14, 14)
    assert model.extractor.backbone is vit
    torch.testing.assert_close(model(images).logits, vit(images))
    assert model.contributions(images).shape == (4, 196, 10)


def test_the_third_trains() -> None:
    torch.manual_seed(0)
    batches = [(torch.randn(8, 3, 32, 32), torch.arange(8))] * 3
    names: dict[str, Any] = {"batches": batches, "steps": 3}
    exec(PYTHON[2], names)
    assert {"cross_entropy", "simulation", "alignment"} < names["terms"].keys()
    assert len(PYTHON) == 3


def test_commands_are_those_that_there_are() -> None:
    lines = [*re.findall(r"^(iavit .*?)(?:  +#.*)?$", TEXT, re.MULTILINE)]
    lines += re.findall(r"`(iavit (?!COMMAND)[^`\n]*)`", TEXT)
    named = {shlex.split(line)[1] for line in lines}
    assert named <= COMMANDS.keys()
    assert {"train", "evaluate", "explain", "attach", "export", "serve", "card"} <= named


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\[[^\]\"]+\]\((?!http)([^)#]+)", TEXT)
    assert [target for target in targets if not (README.parent / target).exists()] == []
