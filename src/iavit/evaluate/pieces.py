"""An audit in pieces: shared among processes, and kept in files until all are done.

A piece is one measure of some images. Its file is written whole, so that an audit that was killed
goes on with the pieces that are missing; the figures are made of the files once all are there, in
the same way whoever wrote them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from iavit.data.images import Images
from iavit.evaluate.measurement import Part, Settings, joined
from iavit.evaluate.processes import Processes
from iavit.files import make_folder, write
from iavit.model.explainable import predictor_of
from iavit.provenance import commit
from iavit.types import Batch

FOLDER = "evaluation-parts"  # beside evaluation.json, while it is being made
MEASURES, PREDICTIONS = "measures", "predictions"  # a stage; of its works, the one of no explainer
KEPT = "what was done before"  # as progress names it
# Numbers of one attention map over all images explained at once: 250 of 32 pixels in patches of
# 4, 27 of 224 in patches of 16. Explainers that keep the maps of all layers set the bound.
MAP_ELEMENTS = 2**20
LARGEST = 256  # images of a piece, or one batch where that is more
PIECES = 32  # of one measure, where there are images enough: processes share them
FEWEST = 16  # images of a batch: fewer are slower an image


@dataclass(frozen=True)
class Work:
    """One measure of images, taken a batch at a time.

    name: what a person is told while it is taken.
    measure: a batch on the device and the index of its first image to what was measured; the
        same whatever was measured before, and in whichever process.
    """

    name: str
    images: Images
    measure: Callable[[Batch, int], Part]


Works = Mapping[str, Work]  # by what is measured, such as an explainer
# A stage's name and its works to all that was measured by each of them.
CarryOut = Callable[[str, Works], dict[str, Part]]


@dataclass(frozen=True)
class Piece:
    """Some batches of images of one work.

    subject, number: of the work among those of its stage; its files are named by the number.
    batches: indices (first, last + 1) of each batch.
    """

    subject: str
    number: int
    batches: tuple[tuple[int, int], ...]

    @property
    def images(self) -> int:
        return self.batches[-1][1] - self.batches[0][0]

    @property
    def file(self) -> str:
        return f"{self.number:03d}-{self.batches[0][0]:09d}.safetensors"


def batch_size(model: nn.Module, most: int | None = None) -> int:
    """How many images can be explained together: `most` at most."""
    predictor = predictor_of(model)
    tokens = predictor.prefix + predictor.grid[0] * predictor.grid[1]
    size = max(1, MAP_ELEMENTS // tokens**2)
    return size if most is None else min(size, most)


def pieces_of(subject: str, number: int, images: int, size: int) -> list[Piece]:
    """All images once, in batches of a size at most; the same for any number of processes."""
    size = min(size, max(FEWEST, -(-images // PIECES)))
    batches = [(start, min(start + size, images)) for start in range(0, images, size)]
    together = max(1, min(LARGEST // size, len(batches) // PIECES))
    return [
        Piece(subject, number, tuple(batches[start : start + together]))
        for start in range(0, len(batches), together)
    ]


def carry_out(
    stage: str,
    works: Works,
    *,
    folder: Path,
    size: int,
    device: torch.device,
    processes: Processes,
    seconds: Mapping[str, Mapping[str, float]],
    progress: Callable[[str, float], None],
) -> dict[str, Part]:
    """Measure the pieces that have no file yet, each in one of the processes; returns all.

    folder: where the files are kept, in one for the stage.
    size: the most images of a batch.
    seconds: that all of each work are expected to take, by stage and subject, of every stage.
    progress: called with a work's name and the part of the whole time that is done since, by
        whichever process; at first with `KEPT` and what was there already.
    """
    place = make_folder(folder / stage)
    pieces = [
        piece
        for number, (subject, work) in enumerate(works.items())
        for piece in pieces_of(subject, number, len(work.images), size)
    ]
    # What takes longest first, so that no process is left alone with it at the end.
    pieces.sort(key=lambda piece: -seconds[stage][piece.subject])
    whole = sum(sum(of_stage.values()) for of_stage in seconds.values())
    ready: set[str] = set()

    def share(subject: str, images: int) -> float:
        return images / len(works[subject].images) * seconds[stage][subject] / whole

    def came() -> list[Piece]:
        """The pieces whose files are there, and were not when this was last asked."""
        written = {path.name for path in place.iterdir()} - ready
        ready.update(written)
        return [piece for piece in pieces if piece.file in written]

    def count_others() -> None:
        for piece in came():
            progress(works[piece.subject].name, share(piece.subject, piece.images))

    there = sum(share(piece.subject, piece.images) for piece in came())
    if there:
        progress(KEPT, there)
    for turn in processes.turns(stage, len(pieces)):
        piece = pieces[turn]
        if (place / piece.file).is_file():
            continue
        work, parts = works[piece.subject], []
        for start, stop in piece.batches:
            batch = work.images[range(start, stop)].to(device)
            parts.append(work.measure(batch, start))
            progress(work.name, share(piece.subject, stop - start))
        ready.add(piece.file)
        _write(place / piece.file, joined(parts))
        count_others()
    processes.meet(stage)
    count_others()
    return _collected(pieces, place)


def _collected(pieces: Sequence[Piece], place: Path) -> dict[str, Part]:
    """Subject to all that was measured of it, image after image."""
    parts: dict[str, list[Part]] = {}
    for piece in sorted(pieces, key=lambda piece: piece.file):
        parts.setdefault(piece.subject, []).append(load_file(place / piece.file))
    return {subject: joined(found) for subject, found in parts.items()}


@contextmanager
def kept(folder: Path | None, name: str) -> Iterator[Path]:
    """Where the pieces of an audit of that name are kept: below a folder, or for now only."""
    if folder is not None:
        yield make_folder(folder / FOLDER / name)
        return
    with TemporaryDirectory(prefix="iavit-") as temporary:
        yield Path(temporary)


def clear(folder: Path) -> None:
    """Remove the pieces of all audits below a folder: `evaluation.json` is written."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def audit_name(
    model: nn.Module,
    images: Images,
    few: Batch,
    explainers: Sequence[str],
    settings: Settings,
    seed: int,
    promised: str | None,
) -> str:
    """A name that differs as soon as a piece of the audit could: in its weights or its settings.

    few: some of the images. promised: of the patches that suffice, what those depend on.
    """
    content = hashlib.sha256()
    description: Mapping[str, object] = {
        "version": version("iavit"),
        "commit": commit(),
        "torch": torch.__version__,
        "device": next(model.parameters()).device.type,
        "settings": asdict(settings),
        "explainers": list(explainers),
        "images": len(images),
        "size": batch_size(model, settings.copies),
        "seed": seed,
        "promised": promised,
    }
    content.update(json.dumps(description, sort_keys=True).encode())
    tensors = {**model.state_dict(), "images": few.images, "labels": few.labels}
    for name, tensor in tensors.items():
        content.update(name.encode())
        content.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return content.hexdigest()[:16]


def _write(path: Path, part: Part) -> None:
    contiguous = {name: values.contiguous() for name, values in part.items()}
    write(path, lambda temporary: save_file(contiguous, temporary))
