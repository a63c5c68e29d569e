"""The commands that are ended, and what must be the same as if they had not been."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from iavit.data import digits
from iavit.experiments import paper, variants
from iavit.experiments.variants import Choices, Planned
from iavit.explain import EXPLAINERS
from iavit.handover import web

EVERY = 5  # steps between two validations
TRAIN = (
    f"train --data digits --batch-size 16 --steps 20 --validate-every {EVERY} --log-every 2 "
    "--lr 0.01 --explain-from 0.25 --output"
).split()
EVALUATE = ["--explainers", "interpreter,rollout", "--images", "12", "--points", "5"]
STUDIED = ("plain", "iavit_faithful")
EXPLAINED = ("interpreter", "contributions", "random")


@dataclass(frozen=True)
class Case:
    """A command that works in a folder.

    words: the command, given the folder. start: whether the folder begins as a copy of a run that
    was trained and measured, with two pictures, or is not there.
    """

    words: Callable[[Path], list[str]]
    start: bool = True


def _train(folder: Path) -> list[str]:
    """Train, or go on with it where there are settings of a run."""
    resume = ["--resume"] if (folder / "config.yaml").is_file() else []
    return [*TRAIN, str(folder), *resume]


CASES: dict[str, Case] = {
    "train": Case(_train, start=False),
    "evaluate": Case(lambda folder: ["evaluate", str(folder), *EVALUATE]),
    "explain": Case(
        lambda folder: ["explain", str(folder), str(folder / "pictures"), "--format", "png,json"]
    ),
    "report": Case(lambda folder: ["report", str(folder)]),
    "card": Case(lambda folder: ["card", str(folder)]),
    "export": Case(lambda folder: ["export", str(folder), str(folder / "model.onnx")]),
    "web": Case(lambda folder: ["export", str(folder), "--web", str(folder / "web")]),
    "reproduce": Case(
        lambda folder: ["reproduce", "digits", "--budget", "small", "--output", str(folder)],
        start=False,
    ),
}


def make_small() -> None:
    """Few scenes, a study of two variants of three steps, and a page without what npm fetches."""
    digits.SCENES["train"], digits.SCENES["val"], digits.SCENES["test"] = 96, 60, 60
    plan = variants.plan

    def few(choices: Choices, explainers: Mapping[str, object]) -> list[Planned]:
        return [run for run in plan(choices, explainers) if run.variant in STUDIED]

    variants.SMALL_STEPS = dict.fromkeys(("main", "ablation", "mark"), 3)
    paper.plan = few  # type: ignore[attr-defined]
    paper.EXPLAINERS = {name: EXPLAINERS[name] for name in EXPLAINED}  # type: ignore[attr-defined]
    Choices.explained = 7  # type: ignore[method-assign, assignment]
    web.onnxruntime_web = lambda: {"ort.min.js": b"a runtime"}  # type: ignore[attr-defined]


def add_pictures(folder: Path) -> None:
    """Two pictures to explain."""
    (folder / "pictures").mkdir()
    for number in range(2):
        picture = Image.effect_noise((40, 40), 60 + number).convert("RGB")
        picture.save(folder / "pictures" / f"{number}.png")


def difference(folder: Path, whole: Path) -> str:
    """How a folder differs from that of a command that was not ended; nothing if it does not."""
    if other := sorted(set(_names(folder)) ^ set(_names(whole))):
        return f"other files: {other[:5]}"
    for name in _names(folder):
        one, two = folder / name, whole / name
        if one.is_file() and _content(one, folder) != _content(two, whole):
            return f"another {name}"
    return ""


def _names(folder: Path) -> list[str]:
    """All that lies in a folder, but for what each process that trains adds for TensorBoard."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return [name for name in names if "tensorboard/events." not in name]


def _content(path: Path, folder: Path) -> bytes:
    """What a file says, but for its own place and for how long something took."""
    content = path.read_bytes().replace(str(folder).encode(), b"HERE")
    if path.suffix == ".ckpt":  # which holds how long each step took
        return b""
    content = re.sub(rb'"([a-z_ ]*seconds[a-z_ ]*)": (\{[^}]*\}|[0-9.e-]+)', rb'"\1": 0', content)
    return re.sub(rb"<dt>seconds of this call</dt>\s*<dd>\d+", b"", content)


def copy_of(whole: Path, folder: Path) -> None:
    """A run to be measured, drawn, written down."""
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("events.*"))
