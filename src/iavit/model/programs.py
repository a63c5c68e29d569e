"""Classifiers as files of TorchScript, which are programs: read before they are loaded.

A program may be explained only if all that it can call computes on tensors. Its text is in the
file, so that is seen without running or even loading it: every name in it that is not its own is
one of torch's functions on an allow-list, or the file is refused with the names of what it calls.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import nn

from iavit.errors import UserError

# Of torch's functions those that do more than compute: they touch files, the terminal, or what
# other draws of random numbers give.
_EFFECTS = {"save", "from_file", "warn", "_print", "manual_seed", "seed"}
# What TorchScript itself adds to a program that it has traced or compiled.
_PRIMITIVES = {
    "NumToTensor",
    "RaiseException",
    "data",
    "device",
    "dtype",
    "is_cuda",
    "itemsize",
    "layout",
    "max",
    "min",
    "requires_grad",
    "unchecked_unwrap_optional",
}
# Words of the language that start something else: output, threads, other machines.
_WORDS = {"print", "fork", "awaitable", "rpc_async", "rpc_sync", "rpc_remote"}
# A name and all that follows it by dots. Strings and comments are read as well, which at worst
# refuses a program that would do no harm.
_NAME = re.compile(r"[^\W\d]\w*(?:\s*\.\s*[^\W\d]\w*)*")
_CUSTOM = "__torch__.torch.classes"  # classes outside of the file


@dataclass(frozen=True)
class Program:
    """A file of TorchScript that may be loaded. content: all its bytes."""

    content: bytes

    def module(self) -> nn.Module:
        """The classifier, in evaluation mode, on the CPU."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's on TorchScript itself
            module: nn.Module = torch.jit.load(io.BytesIO(self.content), map_location="cpu")
        return module.eval()


def read_program(path: Path) -> Program:
    """A file of TorchScript, if it only computes.

    Raises `UserError` for a file that is missing, damaged or of another kind, and for one that
    calls anything beside torch's functions on tensors, with the names of that.
    """
    if not path.is_file():
        raise UserError(f"`classifier` {path}: there is no such file")
    try:
        program = Program(path.read_bytes())
        foreign = _foreign(program.content)
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        raise UserError(
            f"`classifier` {path}: is no file of TorchScript; write one with "
            "torch.jit.trace(model, images).save(FILE), or attach in Python (iavit.attach)"
        ) from error
    if foreign:
        raise UserError(
            f"`classifier` {path}: calls {', '.join(foreign[:5])}, which do more than compute on "
            "tensors; trace the model alone (torch.jit.trace), or attach in Python (iavit.attach)"
        )
    try:
        program.module()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"`classifier` {path}: cannot be loaded: {reason}") from error
    return program


def _foreign(content: bytes) -> list[str]:
    """What a program names beside its own and what is allowed, in order."""
    archive = torch._C.PyTorchFileReader(io.BytesIO(content))  # as torch itself reads it
    names = archive.get_all_records()
    code = [name for name in names if name.startswith("code/") and name.endswith(".py")]
    if "data.pkl" not in names or "constants.pkl" not in names or not code:
        raise RuntimeError("no TorchScript")
    found = {
        refused
        for name in code
        for match in _NAME.finditer(archive.get_record(name).decode("utf-8"))
        if (refused := _refused(re.sub(r"\s", "", match[0])))
    }
    for name in ("data.pkl", "constants.pkl"):
        if _CUSTOM.encode() in archive.get_record(name):
            found.add(_CUSTOM)
    return sorted(found)


def _refused(name: str) -> str | None:
    """The name itself, where it is of something that is not allowed."""
    root, *rest = name.split(".")
    if root == "torch":
        return None if rest and rest[0] in _tensor_functions() else name
    if root == "ops":
        kind, function = (*rest, "", "")[:2]
        allowed = {"aten": _tensor_functions(), "prim": _PRIMITIVES}.get(kind, frozenset())
        return None if function in allowed else name
    return name if root in _WORDS or name.startswith(_CUSTOM) else None


@cache
def _tensor_functions() -> frozenset[str]:
    schemas = (schema.name for schema in torch._C._jit_get_all_schemas())
    return frozenset(name[6:] for name in schemas if name.startswith("aten::")) - _EFFECTS
