"""What do several processes make of one audit?

The same `iavit evaluate` of the digits' scenes, read from files, by one, two and three processes of
one thread each: whether all find the same `evaluation.json`, times aside; and the efficiency of
two: images a second over those of two audits of one process each, side by side on the same cores.
Once by the clock, which wants a machine with nothing else on it, and once by the processors' own
count of seconds, which leaves out what a process waits for. The start of a process, with its
imports, is in both.

    python benchmarks/processes.py RUN --json benchmarks/results/processes.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from results import tell

from iavit.data import digits
from iavit.data.datasets import load_dataset
from iavit.files import write_yaml
from iavit.training.directory import read_config

COMMAND = (sys.executable, "-m", "iavit", "evaluate")


def in_a_folder(run: Path, place: Path, count: int) -> Path:
    """The digits' run as one of so many test scenes in files; any number, also a prime one."""
    digits.SCENES.update({"train": 100, "val": 500, "test": count})
    config = read_config(run)
    splits = load_dataset(config)
    for split in ("train", "val", "test"):
        images = getattr(splits, split)
        for number in range(len(images)):
            batch = images[[number]]
            (pixels,) = splits.normalisation.restore(batch.images).permute(0, 2, 3, 1).numpy()
            folder = place / "scenes" / split / splits.classes[int(batch.labels)]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number:05d}.png")
    copy = place / "run"
    shutil.copytree(run / "model", copy / "model")
    data = replace(config.data, data="folder", root=str(place / "scenes"))
    write_yaml(copy / "config.yaml", replace(config, data=data).flat())
    return copy


def figures(folder: Path) -> dict[str, Any]:
    """All of `evaluation.json` but the times."""
    evaluation: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    del evaluation["provenance"]["seconds"]
    for faithfulness in evaluation["faithfulness"].values():
        del faithfulness["seconds_per_image"]
    return evaluation


def timed(run: Path, options: Sequence[str], outputs: Sequence[Path], devices: int) -> list[float]:
    """Audits side by side, one for each output: seconds by the clock, and of the processors."""
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    audits = []
    for output in outputs:
        command = [*COMMAND, str(run), *options, "--devices", str(devices), "--device", "cpu"]
        audits.append(
            subprocess.Popen(
                [*command, "--output", str(output)],
                env=environment,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # as the launcher does
            )
        )
    processors = 0.0
    for audit in audits:
        _, status, used = os.wait4(audit.pid, 0)
        audit.returncode = os.waitstatus_to_exitcode(status)
        if audit.returncode:
            raise SystemExit(f"{audit.args!r} ended with {audit.returncode}")
        processors += used.ru_utime + used.ru_stime
    taken = [round(time.perf_counter() - started, 1), round(processors, 1)]
    print(f"{len(outputs)} audits of {devices} processes: {taken}", file=sys.stderr, flush=True)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="directory of a run of the digits")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--images", type=int, default=1003)
    parser.add_argument("--explainers", default="contributions,rollout,saliency,random")
    given = parser.parse_args()
    options = ["--explainers", given.explainers]
    found: dict[str, Any] = {"explainers": given.explainers}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run = in_a_folder(given.run, place, given.images)
        pair = [place / "left", place / "right"]
        beside = timed(run, options, pair, 1)
        counts = (2, 3)
        shared = {n: timed(run, options, [place / str(n)], n) for n in counts}
        alone = figures(pair[0])
        found["images"] = alone["images"]
        found["predictor_accuracy"] = alone["prediction"]["predictor_accuracy"]["mean"]
        found["equal"] = {
            "1": figures(pair[1]) == alone,
            **{str(n): figures(place / str(n)) == alone for n in counts},
        }
    found["seconds"] = {"two audits of one process": beside, "one of two": shared[2]}
    found["seconds"]["one of three"] = shared[3]
    found["load"] = [round(load, 1) for load in os.getloadavg()]
    found["efficiency"] = {
        name: round(beside[at] / 2 / shared[2][at], 3)
        for at, name in enumerate(("clock", "processors"))
    }
    tell(found, given.json)


if __name__ == "__main__":
    main()
