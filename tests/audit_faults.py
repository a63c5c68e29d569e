"""Kills one process of an audit at random moments, and goes on with it.

`python -m tests.audit_faults --moments 20`. Every process is forked after the heavy imports; two
share an audit as a launcher would have them, one of the two is killed, the launcher ends the
other, and one process alone goes on. It must come to the `evaluation.json` of an audit that was
never ended, times aside.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from iavit.cli import main
from iavit.config import PRESETS
from iavit.data import digits
from iavit.data.transforms import Normalisation
from iavit.evaluate.pieces import FOLDER
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved, save_model
from tests.faults.disk import ended, forked

OPTIONS = "--images 60 --copies 5 --points 5 --explainers rollout,saliency,random"
SECONDS = 1200  # what takes longer hangs


def untrained(folder: Path) -> Path:
    """A run of the digits whose model has learned nothing."""
    torch.manual_seed(0)
    model = IAViT.create("vit_digits", len(digits.CLASSES), digits.SIZE).eval()
    save_model(Saved(model, tuple(digits.CLASSES), Normalisation()), folder / "model")
    (folder / "config.yaml").write_text(yaml.safe_dump(PRESETS["digits"].flat()))
    return folder


def figures(folder: Path) -> dict[str, Any]:
    """All of `evaluation.json` but the times."""
    evaluation: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    del evaluation["provenance"]["seconds"]
    for faithfulness in evaluation["faithfulness"].values():
        del faithfulness["seconds_per_image"]
    return evaluation


def pieces(folder: Path) -> int:
    """How many are kept."""
    return len(list(folder.glob(f"{FOLDER}/**/*.safetensors")))


def evaluate(run: Path, folder: Path, rank: int = 0, count: int = 1, port: int = 0) -> int:
    """Start one of the processes that share an audit; its id."""

    def work() -> int:
        if count > 1:
            os.environ |= {
                "TORCHELASTIC_RUN_ID": "audit",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
            }
        return main(["evaluate", str(run), *OPTIONS.split(), "--output", str(folder)])

    return forked(work, folder.with_name(f"{folder.name}-{rank}.txt"), SECONDS)


def kill_one(run: Path, folder: Path, after: int, draw: random.Random) -> str:
    """Kill one of two processes once so many pieces are done, and the other as a launcher does.

    Returns what was done.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [evaluate(run, folder, rank, 2, port) for rank in range(2)]
    killed = draw.randrange(2)
    while pieces(folder) < after and not (folder / "evaluation.json").is_file():
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.05))
    os.kill(processes[killed], signal.SIGKILL)
    there = pieces(folder)
    os.kill(processes[1 - killed], signal.SIGKILL)
    for process in processes:
        ended(process)
    return f"process {killed} killed with {there} pieces done"


def sweep(moments: int, place: Path) -> list[str]:
    """Audits that were killed and did not come to the same file; prints a line for each."""
    import iavit.evaluate.audit
    import iavit.training.directory  # noqa: F401  heavy, once for all processes

    (place / "run").mkdir()
    run, whole = untrained(place / "run"), place / "whole"
    status = ended(evaluate(run, whole))
    if status:
        raise SystemExit(f"status {status}: {(place / 'whole-0.txt').read_text()}")
    draw = random.Random(0)
    total = 3 * (60 // 5) + 3 * 2 * 12 + 12  # of three stages; the predictions have no coverage
    wrong = []
    for number in range(moments):
        folder = place / f"audit-{number}"
        done = kill_one(run, folder, draw.randrange(total), draw)
        status = ended(evaluate(run, folder))
        if status:
            said = folder.with_name(f"{folder.name}-0.txt").read_text()[-500:]
            wrong.append(f"{done}: going on ends with {status}: {said}")
        elif figures(folder) != figures(whole) or pieces(folder):
            wrong.append(f"{done}: another evaluation.json, or pieces that are left")
        print(f"{number + 1}: {done}", flush=True)
        shutil.rmtree(folder)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        failed = sweep(options.moments, Path(place))
    print(f"{options.moments - len(failed)} of {options.moments}")
    print("\n".join(failed))
    sys.exit(bool(failed))
