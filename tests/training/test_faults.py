"""A few of the ends that `make faults` brings a run to, by hundreds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def faults(place: Path, *words: str, **variables: str) -> str:
    """What the sweep prints of cases that all went well."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", *words],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env=os.environ | {"RUNS": str(place)} | variables,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_run_that_is_ended_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """A file cut in half as the power fails, a full disk, a signal."""
    printed = faults(tmp_path, "torn", "full", "term", "--points", "40", "--moments", "1")
    assert printed == "train: torn: 1 of 1\ntrain: full: 1 of 1\ntrain: term: 1 of 1\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no other file system")
def test_temporary_files_may_lie_on_another_file_system(tmp_path: Path) -> None:
    """At the first settings, and between a checkpoint and the next."""
    printed = faults(tmp_path, "kill", "--points", "6,164", TMPDIR="/dev/shm")
    assert printed == "train: kill: 2 of 2\n"


@pytest.mark.slow
def test_other_commands_leave_their_files_whole_or_not_at_all(tmp_path: Path) -> None:
    """Given again, they come to the files of one that was never ended, and to no others."""
    printed = faults(tmp_path, "kill", "full", "--cases", "evaluate,report,web", "--points", "4")
    assert printed.splitlines() == [
        f"{case}: {action}: 1 of 1"
        for case in ("evaluate", "report", "web")
        for action in ("kill", "full")
    ]
