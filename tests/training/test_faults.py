"""A few of the ends that `make faults` brings a run to, by hundreds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_run_that_is_ended_goes_on_to_the_same_bytes(tmp_path: Path, elsewhere: bool) -> None:
    """At the lock, before and after config.yaml, at checkpoints and between them and the model.

    elsewhere: the system's temporary files on another file system than the run.
    """
    if elsewhere and not Path("/dev/shm").is_dir():
        pytest.skip("there is no other file system")
    actions = ["kill", "--points", "6,164"] if elsewhere else ["torn", "full", "term"]
    points = [] if elsewhere else ["--points", "40", "--moments", "1"]
    command = [sys.executable, "-m", "tests.faults", *actions, *points]
    places = {"RUNS": str(tmp_path)} | ({"TMPDIR": "/dev/shm"} if elsewhere else {})
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=500, check=False, env=os.environ | places
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("kill: 2 of 2" if elsewhere else "torn: 1 of 1\nfull: 1 of 1")
