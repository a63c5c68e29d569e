"""Models on disk: `model.safetensors` for the weights, `config.json` for all the rest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from iavit.data.transforms import Normalisation
from iavit.earlier import without_removed
from iavit.errors import UserError
from iavit.files import make_folder, write_bytes, write_text
from iavit.model.black_box import BlackBox
from iavit.model.iavit import IAViT
from iavit.model.programs import read_program

PROGRAM = "classifier.pt"  # the classifier itself, where it is no backbone of timm
FORMAT = 1  # of config.json; raised when an older reader could no longer make sense of it


@dataclass(frozen=True)
class Saved:
    """A model with what is needed to use it: its class names and how pixels are normalised."""

    model: IAViT
    classes: tuple[str, ...]
    normalisation: Normalisation


def save_model(saved: Saved, folder: str | PathLike[str]) -> None:
    """Write both files, the description last: where it stands, the model is complete.

    A classifier that came as a file stays that file, `classifier.pt`.

    Raises `UserError` for one that was given in Python.
    """
    box = saved.model.extractor if isinstance(saved.model.extractor, BlackBox) else None
    if box is not None and box.program is None:
        raise UserError(
            f"a {type(box.classifier).__name__} given in Python cannot be saved; write it with "
            "torch.export.save or torch.jit.trace, and attach to that file: iavit attach "
            "--classifier FILE"
        )
    folder = make_folder(Path(folder))
    kept = saved.model.state_dict()
    if box is not None and box.program is not None:
        kept = {name: value for name, value in kept.items() if not name.startswith("extractor.")}
        write_bytes(folder / PROGRAM, box.program.content)
    content = save({name: value.contiguous() for name, value in kept.items()})
    write_bytes(folder / "model.safetensors", content)
    description = {
        "format": FORMAT,
        "iavit": version("iavit"),
        "architecture": asdict(saved.model.architecture),
        "classes": saved.classes,
        "normalisation": asdict(saved.normalisation),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if box is not None and box.program is not None:
        description["classifier_sha256"] = hashlib.sha256(box.program.content).hexdigest()
    write_text(folder / "config.json", json.dumps(description, indent=2) + "\n")


def load_model(folder: str | PathLike[str]) -> Saved:
    """Read what `save_model` wrote; the model is in evaluation mode.

    Raises `UserError` for files that are missing, damaged or of another format.
    """
    folder = Path(folder)
    described, weights = folder / "config.json", folder / "model.safetensors"
    for path in (described, weights):
        if not path.is_file():
            raise UserError(
                f"{path} is missing: name a folder with a model, of a run RUN/model; where this is "
                "one, it was not saved to the end: train again"
            )
    description = _read_description(described)
    content = _read(weights)
    if description.get("sha256") not in (None, hashlib.sha256(content).hexdigest()):
        raise UserError(
            f"{weights} is damaged: its checksum is not that of {described}; copy it again, "
            "or remove the folder and resume the run"
        )
    try:
        architecture = without_removed(description["architecture"])
        if "classifier_sha256" in description:
            model = _beside_program(folder, architecture, description["classifier_sha256"])
            outside = model.extractor.state_dict(prefix="extractor.")
        else:
            model, outside = IAViT.create(**architecture), {}
        model.load_state_dict(load(content) | outside)
        if len(description["classes"]) != model.architecture.num_classes:
            raise KeyError("a class without a name")
        saved = Saved(
            model.eval(),
            tuple(description["classes"]),
            _normalisation(description["normalisation"]),
        )
    except (SafetensorError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder} holds no model that can be read; train it again") from error
    return saved


def _beside_program(folder: Path, architecture: dict[str, Any], sha256: str) -> IAViT:
    program = read_program(folder / PROGRAM)
    if hashlib.sha256(program.content).hexdigest() != sha256:
        raise UserError(f"{folder / PROGRAM} is damaged: its checksum differs; copy it again")
    size = architecture["img_size"]
    model = IAViT.beside(
        program.module(),
        size if isinstance(size, int) else (int(size[0]), int(size[1])),
        architecture["backbone"],
        interpreter_head=architecture["interpreter_head"],
        program=program,
    )
    if model.architecture.num_classes != architecture["num_classes"]:
        raise UserError(f"{folder / PROGRAM} answers for another number of classes; train again")
    return model


def _normalisation(values: dict[str, Any]) -> Normalisation:
    pixel_range = values.get("pixel_range")
    return Normalisation(
        tuple(values["mean"]),
        tuple(values["std"]),
        None if pixel_range is None else tuple(pixel_range),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads(_read(path))
        found = description["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged; train the model again") from error
    if found != FORMAT:
        raise UserError(
            f"{path} has format {found}, and this iavit {version('iavit')} reads {FORMAT}: "
            f"use the version that wrote it ({description.get('iavit', 'unknown')})"
        )
    return description
