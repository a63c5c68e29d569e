"""Lets torchvision be imported beside a torch built for other hardware.

A torchvision wheel built for CUDA cannot load its compiled operators beside a CPU build of
torch, and its import then fails with `operator torchvision::nms does not exist`; timm,
lightning and torchmetrics fail with it, since they import it. None of the compiled operators
is used here. Declaring the schemas that torchvision looks up at import time is enough, and is
done only where its extension does not load: at the moment of torchvision's first import, by
whomever, so that neither torch nor torchvision is loaded before somebody wants it.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

# Schemas of the operators that torchvision registers fake kernels for while it is imported.
_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class BeforeTorchvision(MetaPathFinder):
    """Finds no module; where torchvision is looked for, it declares what that import needs."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            _declare_operators()


def _declare_operators() -> None:
    """Declare the operators of torchvision's extension, if it does not load."""
    import torch

    if not _extension_loads():
        for name, schema in _SCHEMAS.items():
            torch.library.define(f"torchvision::{name}", schema)


def _extension_loads() -> bool:
    """Load torchvision's compiled operators the way torchvision itself will; say if it worked."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    folder = Path(spec.origin).parent
    names = ["_C" + suffix for suffix in importlib.machinery.EXTENSION_SUFFIXES]
    library = next((folder / name for name in names if (folder / name).exists()), None)
    if library is None:
        return False
    try:
        torch.ops.load_library(str(library))
    except OSError:
        return False
    return True


if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, BeforeTorchvision())
