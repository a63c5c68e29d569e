"""Files that are given as weights and are none, or those of another model."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from iavit.model.backbones import create_backbone

Make = Callable[[Path], object]


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


class Evaluated:
    """Evaluates text where it is unpickled."""

    def __reduce__(self) -> Any:
        return eval, ("open('canary', 'w')",)


@cache
def state() -> dict[str, Tensor]:
    """Of the backbone that the corpus is given to."""
    found: dict[str, Tensor] = create_backbone("vit_digits", num_classes=10).state_dict()
    return found


def pickled(value: object) -> bytes:
    """A file of `torch.save`."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def header(text: str | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header, which may lie about its length."""
    encoded = (text if isinstance(text, str) else json.dumps(text)).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + data


def tensor(dtype: str, shape: list[int], offsets: list[int]) -> dict[str, Any]:
    return {"norm.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def without(prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in state().items() if not name.startswith(prefix)}


def changed(name: str, value: Tensor) -> dict[str, Tensor]:
    return {**state(), name: value}


def shares(make: Callable[[], bytes]) -> dict[int, Callable[[], bytes]]:
    """The first bytes of a file, by the share in a hundred of it."""

    def cut(share: int) -> bytes:
        whole = make()
        return whole[: share * len(whole) // 100]

    return {share: partial(cut, share) for share in (1, 20, 40, 60, 80, 99)}


def written(make: Callable[[], bytes]) -> Make:
    """A file of what is made when it is asked for."""
    return lambda path: path.write_bytes(make())


BYTES: dict[str, Callable[[], bytes]] = {
    "empty.pth": lambda: b"",
    "empty.safetensors": lambda: b"",
    "text.pth": lambda: b"weights",
    "text.safetensors": lambda: b"weights of a model, honestly",
    "zeros.safetensors": lambda: bytes(100),
    **{f"{share} in 100.safetensors": cut for share, cut in shares(lambda: save(state())).items()},
    **{f"{share} in 100.pth": cut for share, cut in shares(lambda: pickled(state())).items()},
    "long header.safetensors": lambda: header("{}", length=2**60),
    "longer header.safetensors": lambda: header("{}", length=50),
    "no header.safetensors": lambda: header("", length=0),
    "no json.safetensors": lambda: header("{{{"),
    "list.safetensors": lambda: header("[]"),
    "nested.safetensors": lambda: header('{"a":' * 5000),
    "beyond.safetensors": lambda: header(tensor("F32", [64], [0, 256]), bytes(8)),
    "backwards.safetensors": lambda: header(tensor("F32", [64], [256, 0]), bytes(256)),
    "negative.safetensors": lambda: header(tensor("F32", [64], [-4, 252]), bytes(256)),
    "gap.safetensors": lambda: header(tensor("F32", [64], [8, 264]), bytes(264)),
    "kind.safetensors": lambda: header(tensor("F99", [64], [0, 256]), bytes(256)),
    "huge.safetensors": lambda: header(tensor("F32", [2**40, 2**40], [0, 256]), bytes(256)),
    "left over.safetensors": lambda: header(tensor("F32", [2], [0, 8]), bytes(900)),
    "code.pth": lambda: pickled({"blocks": Trap()}),
    "eval.pth": lambda: pickled({"blocks": Evaluated()}),
    "code among weights.pth": lambda: pickled({**state(), "extra": Trap()}),
    "bare code.pth": lambda: pickle.dumps(Trap()),
    "bare code.ckpt": lambda: pickle.dumps({"state_dict": Trap()}),
    "code.safetensors": lambda: pickle.dumps(Trap()),
    "module.pth": lambda: pickled(torch.nn.Linear(2, 2)),
    "list.pth": lambda: pickled([1, 2]),
    "number.pth": lambda: pickled(3),
    "nothing.pth": lambda: pickled(None),
    "no tensors.pth": lambda: pickled({"epoch": 3}),
    "empty state.pth": lambda: pickled({}),
    "keys.pth": lambda: pickled({1: torch.zeros(2)}),
    "other names.pth": lambda: pickled({"conv1.weight": torch.zeros(2)}),
    "other names.safetensors": lambda: save({"conv1.weight": torch.zeros(2)}),
    "no blocks.pth": lambda: pickled(without("blocks.1.")),
    "no patches.pth": lambda: pickled(without("patch_embed.")),
    "more blocks.pth": lambda: pickled(
        {**state(), **{k.replace("blocks.1.", "blocks.2."): v for k, v in state().items()}}
    ),
    "wide.pth": lambda: pickled(changed("norm.weight", torch.zeros(7))),
    "number for a tensor.pth": lambda: pickled(changed("norm.weight", torch.tensor(1.0))),
    "not a number.pth": lambda: pickled(changed("norm.bias", torch.full((64,), float("nan")))),
    "infinite.safetensors": lambda: save(changed("norm.bias", torch.full((64,), float("inf")))),
    "words.pth": lambda: pickled(dict.fromkeys(state(), "zero")),
    "zip.pth": lambda: archive(a=b"1"),
    "zip of a pickle.pth": lambda: archive(archive__data__pkl=pickle.dumps(Trap())),
    "objects.npz": lambda: npz(cls=np.array([Trap()], dtype=object)),
    "other.npz": lambda: npz(a=np.zeros(3)),
    "text.npz": lambda: b"no arrays",
    "empty.npz": lambda: b"",
    "cut.npz": lambda: npz(cls=np.zeros((1, 1, 64)))[:-40],
    "zip.npz": lambda: archive(cls__npy=b"no array"),
    "onnx.pth": lambda: b"\x08\x07\x12\x07pytorch",
    "hdf5.pth": lambda: b"\x89HDF\r\n\x1a\n" + bytes(500),
}
WEIGHTS: dict[str, Make] = {
    **{name: written(make) for name, make in BYTES.items()},
    "no such.pth": lambda path: None,
    "folder.pth": lambda path: path.mkdir(),
    "pipe.pth": os.mkfifo,
    "dangling.safetensors": lambda path: path.symlink_to("nowhere"),
    "\x1b[31m[x].pth": lambda path: path.write_bytes(b"no"),
}
