"""Checkpoints: written whole, sealed with a checksum, read back only where it is right.

`last.ckpt` is written at every validation, `best.ckpt` where the validation was the best so far.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import CheckpointIO
from rich.console import Console

from iavit.console import say
from iavit.errors import UserError
from iavit.files import make_folder, write_bytes

_SEAL = len(hashlib.sha256().hexdigest())


class Checkpoints(Checkpoint):
    """Writes both checkpoints after each validation.

    folder: where. best_by: the metric whose lowest value is the best.
    """

    def __init__(self, folder: Path, best_by: str) -> None:
        self.folder = folder
        self.best_by = best_by
        self.lowest = math.inf

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        value = float(trainer.callback_metrics[self.best_by])
        # The best one first: a run that stops between the two goes on from before both.
        if value < self.lowest:
            self.lowest = value
            trainer.save_checkpoint(best(self.folder))
        trainer.save_checkpoint(last(self.folder))

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lowest = float(state_dict["lowest"])


class SealedFiles(CheckpointIO):
    """How lightning reads and writes them.

    Its own way stages a file in the system's temporary folder, copies it over the old one where
    that is on another disk, and does not sync.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        make_folder(Path(path).parent)
        write_bytes(Path(path), _sealed(content.getvalue()))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def last(folder: Path) -> Path:
    """The checkpoint that training goes on from."""
    return folder / "last.ckpt"


def best(folder: Path) -> Path:
    """The checkpoint whose weights become the model's."""
    return folder / "best.ckpt"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint on the CPU; `UserError` where the file is not the one that was written."""
    content = path.read_bytes()
    if not _is_whole(content):
        raise UserError(f"{path} is damaged: its checksum differs")
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def first_whole(paths: Iterable[Path], console: Console) -> tuple[Path, dict[str, Any]] | None:
    """The first of these checkpoints that is there and whole, and its content.

    A damaged one is named on the console, and the next one taken; None where none is there.
    Raises `UserError` where all that are there are damaged.
    """
    damaged: UserError | None = None
    for path in paths:
        if not path.is_file():
            continue
        try:
            content = read_checkpoint(path)
        except UserError as error:
            damaged = error
            continue
        if damaged:
            say(f"{damaged}; going on from {path}, of step {content['global_step']}", console)
        return path, content
    if damaged:
        raise UserError(f"{damaged}; remove it to train from the beginning") from damaged
    return None


def _sealed(content: bytes) -> bytes:
    """A zip archive, as torch writes it, with the checksum of all before as its comment."""
    # An archive ends with the length of its comment (2 bytes) and the comment; torch has none.
    body = content[:-2] + _SEAL.to_bytes(2, "little")
    return body + hashlib.sha256(body).hexdigest().encode()


def _is_whole(content: bytes) -> bool:
    body, seal = content[:-_SEAL], content[-_SEAL:]
    return hashlib.sha256(body).hexdigest().encode() == seal
