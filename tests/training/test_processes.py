"""Several processes train one model, by the command that a person gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from iavit.training.directory import load_run
from tests.training.runs import rows

COMMAND = (
    "train --backbone vit_digits --batch-size 8 --steps 6 --validate-every 6 --log-every 1 "
    "--accelerator cpu --strategy ddp --devices 2 --explain-from 0.5"
)


def test_two_processes_train_one_run_and_the_first_writes_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "iavit", *COMMAND.split(), "--output", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is trained; next: iavit evaluate") == 1
    logged = rows(folder)
    assert [row["step"] for row in logged] == ["1", "2", "3", "4", "5", "6"]
    # The interpreter begins half-way.
    assert [bool(row["train/simulation"]) for row in logged] == [False] * 3 + [True] * 3
    assert load_run(folder).saved.classes == tuple("0123456789")


def test_two_processes_do_not_take_a_folder_with_another_run(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("kept")
    command = [sys.executable, "-m", "iavit", *COMMAND.split(), "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
