"""Classifiers in a folder, as `save_pretrained` leaves them: which backbone, which classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm

from iavit.errors import UserError
from iavit.model.layouts import size_name

FILES = ("model.safetensors", "pytorch_model.bin")  # of weights, the first that is there
LIMIT = 2**24  # bytes of a description: a thousand times those that are published


@dataclass(frozen=True)
class Published:
    """What a folder's `config.json` says of its classifier.

    backbone: its name here. img_size: pixels a side.
    mean, std: of each channel, that its images were normalised by; () where that is not said.
    classes: their names, by number; the numbers where it has no names.
    """

    backbone: str
    img_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]


def numbered(count: int) -> tuple[str, ...]:
    """Names of classes that have none: their numbers."""
    return tuple(str(number) for number in range(count))


def weights_in(folder: Path) -> Path:
    """The file of weights in a folder; `UserError` where there is none."""
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"`weights` {folder}: has neither {' nor '.join(FILES)}; name a file of weights"
    )


def read_published(folder: Path) -> Published:
    """The description of the classifier in a folder.

    As iavit writes it (`RUN/model`), as timm does for the hub, or as transformers does for a ViT,
    or a DeiT with its teacher.

    Raises `UserError` for a folder without one, and one of another kind of model.
    """
    path = folder / "config.json"
    found = _read(path)
    try:
        if isinstance(found.get("architecture"), dict):
            return _ours(found)
        if isinstance(found.get("architecture"), str):
            return _timms(found)
        return _transformers(found, folder)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise UserError(
            f"`weights` {path}: describes no classifier that is known here; give `backbone`, "
            "`img_size` and the file of its weights"
        ) from error


def _ours(found: Mapping[str, Any]) -> Published:
    architecture, normalisation = found["architecture"], found["normalisation"]
    return Published(
        str(architecture["backbone"]),
        int(architecture["img_size"]),
        _three(normalisation["mean"]),
        _three(normalisation["std"]),
        tuple(str(name) for name in found["classes"]),
    )


def _timms(found: Mapping[str, Any]) -> Published:
    published = found["pretrained_cfg"]
    _, height, width = published["input_size"]
    count = int(found["num_classes"])
    return Published(
        str(found["architecture"]),
        _square(height, width),
        _three(published["mean"]),
        _three(published["std"]),
        _names(found.get("label_names") or published.get("label_names"), count),
    )


def _transformers(found: Mapping[str, Any], folder: Path) -> Published:
    kind = found["architectures"][0]
    side, patch = int(found["image_size"]), int(found["patch_size"])
    size = size_name(int(found["hidden_size"]), int(found["num_hidden_layers"]))
    stem = {
        "ViTForImageClassification": f"vit_{size}_patch{patch}",
        "DeiTForImageClassificationWithTeacher": f"deit_{size}_distilled_patch{patch}",
    }[kind]
    named = (f"{stem}_{side}", f"{stem}_224", f"{stem}_384")
    backbone = next((name for name in named if timm.is_model(name)), None)
    if backbone is None:
        raise ValueError("timm has no transformer of this form")
    labels = found.get("id2label") or {}
    names = [labels[str(number)] for number in range(len(labels))]
    if names == [f"LABEL_{number}" for number in range(len(labels))]:  # transformers' own
        names = []
    images = folder / "preprocessor_config.json"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    if images.is_file():
        processed = _read(images)
        mean, std = _three(processed["image_mean"]), _three(processed["image_std"])
    # Two classes where nothing is said, as transformers has it.
    return Published(backbone, side, mean, std, _names(names, len(labels) or 2))


def _names(names: Any, count: int) -> tuple[str, ...]:
    return tuple(str(name) for name in names) if names and len(names) == count else numbered(count)


def _square(height: Any, width: Any) -> int:
    if height != width:
        raise ValueError("images are not square")
    return int(height)


def _three(numbers: Any) -> tuple[float, ...]:
    red, green, blue = (float(number) for number in numbers)
    return red, green, blue


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"`weights` {path.parent}: has no {path.name}; name a file of weights")
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"`weights` {path}: cannot be read as a description in JSON") from error
    return found
