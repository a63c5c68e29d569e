"""The picture that is drawn while a model trains: what is on it, and that it changes nothing."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from iavit.config import Config
from iavit.data.datasets import load_dataset
from iavit.handover import preview
from iavit.handover.preview import PANEL, Preview
from iavit.training.run import train
from iavit.training.task import Task


def test_a_run_with_a_preview_ends_with_the_same_weights(
    tiny_run: Path, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn every third of six steps in both stages; told of once."""
    drawn: list[bytes] = []
    monkeypatch.setattr(preview, "write_bytes", lambda path, content: drawn.append(content))
    said = io.StringIO()
    splits = load_dataset(tiny_config)
    watching = Preview(splits, tmp_path, Console(file=said, width=80), 3)
    train(tiny_config, tmp_path, splits=splits, console=Console(quiet=True), callbacks=[watching])
    weights = "model/model.safetensors"
    assert (tmp_path / weights).read_bytes() == (tiny_run / weights).read_bytes()
    assert len(drawn) == 4
    (line,) = said.getvalue().splitlines()
    assert line.startswith(
        f"step      3  the first image explained, {tmp_path / 'preview.png'}: a "
    )
    assert line.endswith("map of generic_attention; drawn anew every 3 steps")


def test_it_shows_the_image_and_its_map_and_says_whose_it_is(
    tiny_config: Config, tmp_path: Path
) -> None:
    splits = load_dataset(tiny_config)
    watching = Preview(splits, tmp_path, Console(quiet=True), 3)
    lines: list[str] = []
    drawing = watching.draw

    def draw(task: Task) -> str:
        lines.append(drawing(task))
        return lines[-1]

    watching.draw = draw  # type: ignore[method-assign]
    shorter = replace(tiny_config.training, steps=3, interpreter_steps=3)
    train(
        replace(tiny_config, training=shorter),
        tmp_path,
        splits=splits,
        console=Console(quiet=True),
        callbacks=[watching],
    )
    label = int(splits.val[[0]].labels)
    assert [line.rsplit(maxsplit=1)[1] for line in lines] == ["generic_attention", "contributions"]
    assert all(line.startswith(f"a {label} that is taken for ") for line in lines)
    with Image.open(tmp_path / "preview.png") as strip:
        assert strip.size == (2 * PANEL, PANEL)
        shown = strip.crop((0, 0, PANEL, PANEL)).resize((32, 32), Image.Resampling.NEAREST)
    pixels = splits.normalisation.restore(splits.val[[0]].images)[0].permute(1, 2, 0).numpy()
    assert shown.tobytes() == pixels.tobytes()
