"""Classifiers as files of TorchScript or torch.export: programs, read before they are run.

A program may be explained only if all that it can call computes on tensors. Its text is in the
file, so that is seen without running or even loading it: every name in it that is not its own is
one of torch's functions on an allow-list, or the file is refused with the names of what it calls.
What torch.export wrote is not loaded by torch at all (`model/graphs.py`).
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from iavit.errors import UserError
from iavit.model.graphs import foreign_operators, is_graph, read_graph
from iavit.model.operators import tensor_functions

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
# What reading a damaged file raises.
_DAMAGED = (RuntimeError, KeyError, IndexError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Program:
    """A file that may be run. content: all its bytes."""

    content: bytes

    def module(self) -> nn.Module:
        """The classifier, in evaluation mode, on the CPU."""
        archive = _archive(self.content)
        if is_graph(archive):
            return read_graph(archive).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's on TorchScript itself
            module: nn.Module = torch.jit.load(io.BytesIO(self.content), map_location="cpu")
        return module.eval()


def read_program(path: Path) -> Program:
    """A file of torch.export or TorchScript, if it only computes.

    Raises `UserError` for a file that is missing, damaged or of another kind, and for one that
    calls anything beside torch's functions on tensors, with the names of that.
    """
    if not path.is_file():
        raise UserError(f"`classifier` {path}: there is no such file")
    try:
        program = Program(path.read_bytes())
        archive = _archive(program.content)
        foreign = foreign_operators(archive) if is_graph(archive) else _foreign(archive)
    except (OSError, *_DAMAGED) as error:
        raise UserError(
            f"`classifier` {path}: is no file of torch.export or TorchScript; write one with "
            "torch.export.save or torch.jit.trace(model, images).save(FILE), or attach in Python "
            "(iavit.attach)"
        ) from error
    if foreign:
        raise UserError(
            f"`classifier` {path}: calls {', '.join(foreign[:5])}, which do more than compute on "
            "tensors; write the model alone, or attach in Python (iavit.attach)"
        )
    try:
        program.module()
    except UserError as error:
        raise UserError(f"`classifier` {path}: {error}") from error
    except _DAMAGED as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise UserError(f"`classifier` {path}: cannot be loaded: {reason}") from error
    return program


def _archive(content: bytes) -> torch._C.PyTorchFileReader:
    return torch._C.PyTorchFileReader(io.BytesIO(content))  # as torch itself reads it


def _foreign(archive: torch._C.PyTorchFileReader) -> list[str]:
    """What a program of TorchScript names beside its own and what is allowed, in order."""
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
        return None if rest and rest[0] in tensor_functions() else name
    if root == "ops":
        kind, function = (*rest, "", "")[:2]
        allowed = {"aten": tensor_functions(), "prim": _PRIMITIVES}.get(kind, frozenset())
        return None if function in allowed else name
    return name if root in _WORDS or name.startswith(_CUSTOM) else None
