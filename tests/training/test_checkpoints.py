"""A checkpoint is the one that was written, or it is refused by name."""

from __future__ import annotations

import io
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from rich.console import Console

from iavit.config import Config
from iavit.errors import UserError
from iavit.training.checkpoints import (
    Checkpoints,
    SealedFiles,
    best,
    first_whole,
    last,
    read_checkpoint,
)
from iavit.training.directory import load_run
from iavit.training.run import train
from tests.training.runs import rows, same, weights

LAST_STAGE = Path("checkpoints") / "interpreter"
STATE: dict[str, Any] = {"global_step": 7, "state_dict": {"a": torch.arange(5.0)}}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints" / "last.ckpt"
    SealedFiles().save_checkpoint(STATE, path)
    return path


def test_a_checkpoint_is_read_as_it_was_written_by_us_and_by_torch(checkpoint: Path) -> None:
    for state in (read_checkpoint(checkpoint), torch.load(checkpoint, weights_only=True)):
        assert state["global_step"] == 7
        assert state["state_dict"]["a"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_every_flipped_bit_and_every_cut_is_refused(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        checkpoint.write_bytes(flipped)
        with pytest.raises(UserError, match=r"last\.ckpt is damaged: its checksum differs"):
            read_checkpoint(checkpoint)
    for length in (0, 1, 63, 64, 65, len(whole) // 2, len(whole) - 1):
        checkpoint.write_bytes(whole[:length])
        with pytest.raises(UserError, match="damaged"):
            read_checkpoint(checkpoint)


def test_a_checkpoint_that_is_removed_is_gone_and_may_be_so_already(checkpoint: Path) -> None:
    for _ in range(2):
        SealedFiles().remove_checkpoint(checkpoint)
        assert list(checkpoint.parent.iterdir()) == []


def test_a_checkpoint_of_another_program_is_refused_and_runs_no_code(checkpoint: Path) -> None:
    torch.save(STATE, checkpoint)
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(checkpoint)


def test_the_next_whole_one_is_taken_and_the_damaged_one_named(checkpoint: Path) -> None:
    paths = (last(checkpoint.parent), best(checkpoint.parent))
    assert first_whole(paths[1:], Console()) is None
    SealedFiles().save_checkpoint({**STATE, "global_step": 5}, paths[1])
    out = Console(file=io.StringIO(), width=400)
    found = first_whole(paths, out)
    assert found is not None
    assert (found[0], found[1]["global_step"]) == (paths[0], 7)
    paths[0].write_bytes(b"x")
    found = first_whole(paths, out)
    assert found is not None
    assert (found[0], found[1]["global_step"]) == (paths[1], 5)
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().startswith(f"{paths[0]} is damaged: its checksum differs; going on")
    assert "best.ckpt, of step 5" in out.file.getvalue()
    paths[1].write_bytes(b"x")
    with pytest.raises(UserError, match="remove it to train from the beginning"):
        first_whole(paths, out)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run without its model: it ended just before it was written."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    shutil.rmtree(folder / "model")
    return folder


def test_each_stage_keeps_its_best_by_what_measures_the_same_all_along(
    tiny_config: Config, tmp_path: Path
) -> None:
    """A learning rate that spoils what is learned, and so a best that need not be the last."""
    training = replace(tiny_config.training, steps=12, validate_every=4, lr=1.0, warmup=0.0)
    train(replace(tiny_config, training=training), tmp_path)
    logged = [row for row in rows(tmp_path) if row["val/loss"]]
    assert [int(row["step"]) for row in logged] == [4, 8, 12, 16, 20, 24]
    for folder, name, stage, before in (
        ("checkpoints", "val/cross_entropy", logged[:3], 0),
        ("checkpoints/interpreter", "val/loss", logged[3:], 12),
    ):
        lowest = min(range(3), key=[float(row[name]) for row in stage].__getitem__)
        assert read_checkpoint(last(tmp_path / folder))["global_step"] == 12
        kept = read_checkpoint(best(tmp_path / folder))
        assert kept["global_step"] + before == int(stage[lowest]["step"])


def test_the_best_is_the_lowest_and_the_last_is_every_one(tmp_path: Path) -> None:
    written: list[tuple[str, float]] = []
    metrics: dict[str, float] = {}

    class Trainer:
        callback_metrics = metrics

        def save_checkpoint(self, path: Path) -> None:
            written.append((path.stem, metrics["val/m"]))

    checkpoints = Checkpoints(tmp_path, "val/m")
    for value in (3.0, 1.0, 2.0):
        metrics["val/m"] = value
        checkpoints.on_train_epoch_end(cast(Any, Trainer()), cast(Any, None))
    again = Checkpoints(tmp_path, "val/m")
    again.load_state_dict(checkpoints.state_dict())
    for value in (1.5, math.nan, 0.5):
        metrics["val/m"] = value
        again.on_train_epoch_end(cast(Any, Trainer()), cast(Any, None))
    assert [value for name, value in written if name == "best"] == [3.0, 1.0, 0.5]
    assert [name for name, _ in written].count("last") == 6
    assert written[:2] == [("best", 3.0), ("last", 3.0)]


def test_a_run_with_nothing_left_to_train_writes_its_model(
    tiny_run: Path, tiny_config: Config, run: Path
) -> None:
    train(tiny_config, run, resume=True)
    for name in ("model.safetensors", "config.json"):
        assert (run / "model" / name).read_bytes() == (tiny_run / "model" / name).read_bytes()
    assert rows(run) == rows(tiny_run)


def test_a_damaged_last_checkpoint_is_made_again_from_the_best(
    tiny_run: Path, tiny_config: Config, run: Path
) -> None:
    flip(last(run / LAST_STAGE))
    out = Console(file=io.StringIO(), width=400)
    train(tiny_config, run, resume=True, console=out)
    assert isinstance(out.file, io.StringIO)
    assert "last.ckpt is damaged" in out.file.getvalue()
    assert same(weights(run), weights(tiny_run))


def test_a_damaged_best_checkpoint_is_no_model(tiny_config: Config, run: Path) -> None:
    flip(best(run / LAST_STAGE))
    with pytest.raises(UserError, match=r"best\.ckpt is damaged: .* remove it to take the last"):
        train(tiny_config, run, resume=True)
    assert not (run / "model").exists()
    best(run / LAST_STAGE).unlink()
    train(tiny_config, run, resume=True)
    kept = read_checkpoint(last(run / LAST_STAGE))["state_dict"]
    assert same(weights(run), {name.removeprefix("model."): kept[name] for name in kept})


def test_a_flipped_bit_in_the_model_is_refused_by_name(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    flip(folder / "model" / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors is damaged: its checksum"):
        load_run(folder)


def test_the_model_can_be_read_by_whoever_reads_its_description(tiny_run: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tiny_run / "model").iterdir()}
    assert modes["model.safetensors"] == modes["config.json"]
