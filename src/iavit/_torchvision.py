"""Lets torchvision be imported beside a torch built for other hardware.

A torchvision wheel built for CUDA cannot load its compiled operators beside a CPU build of
torch, and its import then fails with `operator torchvision::nms does not exist`; timm,
lightning and torchmetrics fail with it, since they import it. None of the compiled operators
is used here. Declaring the schemas that torchvision looks up at import time is enough, and is
done only where its extension did not load. Every subpackage imports this module before its
own modules, hence before the first import of torchvision.
"""

import importlib.machinery
import importlib.util
from pathlib import Path

import torch

# Schemas of the operators that torchvision registers fake kernels for while it is imported.
_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _extension_loads() -> bool:
    """Load torchvision's compiled operators the way torchvision itself will; say if it worked."""
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


if not _extension_loads():
    for _name, _schema in _SCHEMAS.items():
        torch.library.define(f"torchvision::{_name}", _schema)
