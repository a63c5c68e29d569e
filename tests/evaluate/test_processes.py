"""Several processes share one audit, by the command that a person gives."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import FileStore  # type: ignore[attr-defined]

from iavit.cli import main
from iavit.evaluate import processes
from iavit.evaluate.pieces import FOLDER
from iavit.evaluate.processes import Processes
from tests.audit_faults import figures, pieces, untrained

# Few images, many pieces: seven batches of at most 5 images for each of three explainers.
COMMAND = "--images 33 --copies 5 --points 5 --explainers rollout,saliency,random"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained(tmp_path_factory.mktemp("run"))


def command(run: Path, output: Path, *options: str) -> list[str]:
    named = [*COMMAND.split(), *options, "--output", str(output)]
    return [sys.executable, "-m", "iavit", "evaluate", str(run), *named]


def evaluated(run: Path, output: Path, *options: str) -> dict[str, Any]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(run, output, *options),
        capture_output=True, text=True, timeout=300, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("33 of 1,000 test images") == 1
    assert not (output / FOLDER).exists()
    return figures(output)


@pytest.fixture(scope="module")
def alone(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process finds."""
    return evaluated(run, tmp_path_factory.mktemp("alone"))


@pytest.mark.slow
def test_two_processes_find_what_one_finds(
    run: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    assert alone["images"] == 33
    assert evaluated(run, tmp_path, "--devices", "2") == alone


@pytest.mark.slow
def test_two_machines_under_torchrun_find_what_one_process_finds(
    run: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    """Two of its agents, one process each, meet on a port and share the output folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meet = f"127.0.0.1:{free.getsockname()[1]}"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2"]
    launcher += ["--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", meet]
    agents = [
        subprocess.Popen(
            [*launcher, "--node-rank", str(rank), *command(run, tmp_path)[1:]],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    ]  # fmt: skip
    printed = [agent.communicate(timeout=300) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], printed
    assert sum(out.count("33 of 1,000 test images") for out, _ in printed) == 1
    assert figures(tmp_path) == alone


def started(run: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    """An audit of which two pieces are done."""
    process = subprocess.Popen(
        command(run, output, *options),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while pieces(output) < 2:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


@pytest.mark.slow
def test_a_killed_audit_goes_on_in_three_processes_to_the_same_file(
    run: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    with started(run, tmp_path) as process:
        os.killpg(process.pid, signal.SIGKILL)
    assert not (tmp_path / "evaluation.json").exists()
    assert evaluated(run, tmp_path, "--devices", "3") == alone


@pytest.mark.slow
def test_where_one_process_is_killed_all_end_with_a_line_that_says_how_to_go_on(
    run: Path, tmp_path: Path, alone: dict[str, Any]
) -> None:
    """At random moments, by dozens: `python -m tests.audit_faults`."""
    with started(run, tmp_path, "--devices", "2") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        os.kill(int(children[1]), signal.SIGKILL)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.strip() == (
        "iavit: one of the processes was ended by SIGKILL; give the same command again: "
        "what is done is kept"
    )
    assert not (tmp_path / "evaluation.json").exists()
    assert pieces(tmp_path)
    assert evaluated(run, tmp_path) == alone


@pytest.mark.slow
def test_a_mistake_is_told_once_whatever_the_number_of_processes(run: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(run, tmp_path, "--devices", "2", "--explainers", "roll"),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("iavit: --explainers: there is no 'roll'")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("devices", ["0", "-1", "two", "1.5"])
def test_a_number_of_processes_that_makes_no_sense_is_refused(
    devices: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "nowhere", f"--devices={devices}"]) == 2
    assert f"--devices is '{devices}'; give a number from 1" in capsys.readouterr().err


@pytest.mark.parametrize(("own", "expected"), [(None, "3"), ("5", "5")])
def test_processes_share_the_cores_unless_the_user_says_how_many_each_has(
    own: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", own or "")  # and what was there comes back
    if own is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    monkeypatch.setattr(logging.getLogger("torch.distributed"), "setLevel", lambda level: None)
    monkeypatch.setattr(sys, "argv", ["iavit", "evaluate", "run"])
    threads: list[str | None] = []
    given: list[list[str]] = []

    def launcher(arguments: list[str]) -> None:
        threads.append(os.environ.get("OMP_NUM_THREADS"))
        given.append(arguments)

    monkeypatch.setattr("torch.distributed.run.main", launcher)
    processes.launch(2, "again")
    assert threads == [expected]
    assert given == [["--standalone", "--nproc-per-node=2", "-m", "iavit", "evaluate", "run"]]


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(str(tmp_path / "store"), 3)


def test_turns_are_taken_once_and_all(store: FileStore) -> None:
    several = [Processes(rank, 3, store) for rank in range(3)]
    turns = [each.turns("a", 11) for each in several]
    taken = [next(turns[at % 3]) for at in range(9)] + list(turns[1])
    assert sorted(taken) == list(range(11))
    assert list(turns[0]) == []
    assert list(Processes().turns("a", 4)) == [0, 1, 2, 3]
    assert sum(len(list(each.turns("b", 5))) for each in several) == 5


def test_all_have_the_plan_of_the_first(store: FileStore) -> None:
    assert Processes(0, 2, store).plan(lambda: "the first's") == "the first's"
    assert Processes(1, 2, store).plan(lambda: "another") == "the first's"
    assert Processes().plan(lambda: "one's own") == "one's own"


def test_those_that_are_not_the_first_end_when_all_is_done(store: FileStore) -> None:
    with pytest.raises(SystemExit) as ended:
        Processes(1, 2, store).finish()
    assert ended.value.code == 0
    Processes(0, 2, store).finish()
    Processes().finish()


def test_the_first_waits_until_all_are_done(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PATIENCE", timedelta(milliseconds=100))
    first = Processes(0, 3, store)
    for rank in (1, 2):
        with pytest.raises(RuntimeError):  # still waited for
            first.finish()
        with pytest.raises(SystemExit):
            Processes(rank, 3, store).finish()
    first.finish()


def test_what_is_shared_comes_in_order_to_the_first(store: FileStore) -> None:
    first, other = Processes(0, 2, store), Processes(1, 2, store)

    def work(number: int) -> str:
        if number == 0:  # meanwhile, the other does the next two
            for turn in range(2):
                assert store.add("work: turns", 1) == turn + 2
                store.set(f"work {turn + 1}", f"{turn + 1} of the other")
        return f"{number}"

    assert list(first.in_order(4, work)) == ["0", "1 of the other", "2 of the other", "3"]
    assert list(other.in_order(4, work)) == []
    assert list(Processes().in_order(2, str)) == ["0", "1"]
