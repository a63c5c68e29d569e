"""The one call that measures all that wants a GPU, in small and on the processor."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# The part `tests` runs files of this very suite.
PARTS = [
    "step",
    "received",
    "perturbation",
    "steps",
    "attach",
    "rates",
    "explainers",
    "compiled",
    "received_compiled",
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of one run."""
    path = tmp_path_factory.mktemp("gpu") / "gpu.json"
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--tiny", "--json", str(path)]
    command += ["--only", ",".join(PARTS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_every_part_runs_through_under_the_name_of_the_machine(measured: dict[str, Any]) -> None:
    ((device, found),) = measured.items()
    assert device == found["machine"]["figures"]["device"]
    assert [name for name in found if name not in ("torch", "machine")] == PARTS
    assert all("figures" in found[name] for name in PARTS)


def test_the_figures_are_those_of_what_was_run(measured: dict[str, Any]) -> None:
    (found,) = measured.values()
    figures = {name: found[name]["figures"] for name in PARTS}
    ratios = figures["step"]["vit_tiny_patch16_224"]
    # Of five tokens the joint step keeps hardly more than the plain one.
    assert 1 < ratios["joint"]["saved_bytes"] < 1.1
    assert list(figures["received"]) == ["1 x 2 x 5 x 16"]
    for way in figures["received"]["1 x 2 x 5 x 16"].values():
        assert way["difference"] < 2e-3
    # Insertion and deletion on 2 x 2 patches: 2 x 5 points, of which the ends are known twice.
    assert figures["perturbation"]["ours"]["passes"] == 8
    assert list(figures["steps"]["vit_digits"]) == ["plain", "paper", "interpreter"]
    assert set(figures["explainers"]["vit_digits"]) == {
        *("plain_milliseconds", "interpreter", "contributions", "saliency")
    }
    assert figures["compiled"]["vit_digits"]["time"] > 0
    for attached in figures["attach"].values():
        assert attached["milliseconds"] > 0
        assert attached["moved"] == 0


def sleep(_scale: object) -> None:
    time.sleep(60)


def fail(_scale: object) -> None:
    raise ValueError("what went wrong")


def test_a_part_that_takes_too_long_or_fails_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu

    long = gpu.run_part(gpu.Part(sleep, 1), gpu.TINY, 1, "spawn")
    assert long["error"] == "took more than 1 s"
    assert long["seconds"] < 30
    failed = gpu.run_part(gpu.Part(fail, 100), gpu.TINY, 100, "spawn")
    assert failed["error"] == "ValueError: what went wrong"
