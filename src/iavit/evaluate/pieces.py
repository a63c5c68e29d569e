"""An audit in pieces: shared among processes, and kept in files until all are done.

A piece is one explainer, or the predictions, on some images. Its file is written whole, so that
an audit that was killed goes on with the pieces that are missing; the figures are made of the
files once all are there, in the same way whoever wrote them.
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
from iavit.model.explainable import extractor_of
from iavit.provenance import commit
from iavit.types import Batch

FOLDER = "evaluation-parts"  # beside evaluation.json, while it is being made
PREDICTIONS = "predictions"
# Numbers of one attention map over all images explained at once: 250 of 32 pixels in patches of
# 4, 27 of 224 in patches of 16. Explainers that keep the maps of all layers set the bound.
MAP_ELEMENTS = 2**20
LARGEST = 256  # images of a piece, or one batch where that is more
PIECES = 32  # of one explainer at least, where there are batches enough


@dataclass(frozen=True)
class Piece:
    """Some batches of images by one subject: an explainer's name, or `PREDICTIONS`.

    number: of the subject in the audit, by which the file is named.
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
    extractor = extractor_of(model)
    tokens = extractor.prefix + extractor.grid[0] * extractor.grid[1]
    size = max(1, MAP_ELEMENTS // tokens**2)
    return size if most is None else min(size, most)


def batches(model: nn.Module, images: Images) -> Iterator[Batch]:
    """All images in their order, as many at a time as can be explained together."""
    size, device = batch_size(model), next(model.parameters()).device
    for start in range(0, len(images), size):
        yield images[range(start, min(start + size, len(images)))].to(device)


def pieces_of(subject: str, number: int, images: int, size: int) -> list[Piece]:
    """All images once, in batches of a size; the same whatever number of processes there is."""
    batches = [(start, min(start + size, images)) for start in range(0, images, size)]
    together = max(1, min(LARGEST // size, len(batches) // PIECES))
    return [
        Piece(subject, number, tuple(batches[start : start + together]))
        for start in range(0, len(batches), together)
    ]


def carry_out(
    pieces: Sequence[Piece],
    images: Images,
    folder: Path,
    measure: Callable[[str, Batch, int], Part],
    device: torch.device,
    processes: Processes,
    done: Callable[[str, int], None],
) -> None:
    """Measure the pieces that have no file yet, each in one of the processes.

    measure: a subject, a batch on the device and the index of its first image to what was
        measured; the same whatever was measured before, and in whichever process.
    done: called with a subject and how many of its images are done, by whichever process.
    """
    ready: set[str] = set()

    def count_ready() -> None:
        written = {path.name for path in folder.iterdir()}
        for piece in pieces:
            if piece.file in written and piece.file not in ready:
                ready.add(piece.file)
                done(piece.subject, piece.images)

    count_ready()
    for turn in processes.turns(len(pieces)):
        piece = pieces[turn]
        if (folder / piece.file).is_file():
            continue
        parts = []
        for start, stop in piece.batches:
            batch = images[range(start, stop)].to(device)
            parts.append(measure(piece.subject, batch, start))
            done(piece.subject, stop - start)
        _write(folder / piece.file, joined(parts))
        ready.add(piece.file)
        count_ready()


def collect(pieces: Sequence[Piece], folder: Path) -> dict[str, Part]:
    """Subject to all that was measured of it, image after image."""
    parts: dict[str, list[Part]] = {}
    for piece in pieces:
        parts.setdefault(piece.subject, []).append(load_file(folder / piece.file))
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
) -> str:
    """A name that differs as soon as a piece of the audit could: in its weights or its settings."""
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
