"""Train, explain and audit image classifiers that explain themselves.

The names below are loaded when they are first used, so that `iavit --help` does not wait for
torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from iavit import _torchvision as _torchvision

if TYPE_CHECKING:
    from iavit.config import RECIPES, Config, ObjectiveConfig
    from iavit.errors import UserError
    from iavit.evaluate.audit import audit
    from iavit.evaluate.metrics import METRICS
    from iavit.evaluate.protocols import PROTOCOLS
    from iavit.evaluate.subjects import Explained
    from iavit.explain import EXPLAINERS
    from iavit.handover.card import Statement
    from iavit.handover.classifier import load
    from iavit.handover.export import export_onnx
    from iavit.masking.engine import Perturbation
    from iavit.masking.substrates import SUBSTRATES
    from iavit.model.checkpoints import load_weights
    from iavit.model.iavit import IAViT
    from iavit.model.weights import load_model, save_model
    from iavit.objective.step import objective_terms
    from iavit.training.attach import attach
    from iavit.training.run import train
    from iavit.types import Batch, Explanation, Output

__version__ = version("iavit")

_HOMES = {
    "Batch": "iavit.types",
    "Config": "iavit.config",
    "EXPLAINERS": "iavit.explain",
    "Explained": "iavit.evaluate.subjects",
    "Explanation": "iavit.types",
    "IAViT": "iavit.model.iavit",
    "METRICS": "iavit.evaluate.metrics",
    "ObjectiveConfig": "iavit.config",
    "Output": "iavit.types",
    "PROTOCOLS": "iavit.evaluate.protocols",
    "RECIPES": "iavit.config",
    "Perturbation": "iavit.masking.engine",
    "SUBSTRATES": "iavit.masking.substrates",
    "Statement": "iavit.handover.card",
    "UserError": "iavit.errors",
    "attach": "iavit.training.attach",
    "audit": "iavit.evaluate.audit",
    "export_onnx": "iavit.handover.export",
    "load": "iavit.handover.classifier",
    "load_model": "iavit.model.weights",
    "load_weights": "iavit.model.checkpoints",
    "objective_terms": "iavit.objective.step",
    "save_model": "iavit.model.weights",
    "train": "iavit.training.run",
}

__all__ = [
    "EXPLAINERS",
    "METRICS",
    "PROTOCOLS",
    "RECIPES",
    "SUBSTRATES",
    "Batch",
    "Config",
    "Explained",
    "Explanation",
    "IAViT",
    "ObjectiveConfig",
    "Output",
    "Perturbation",
    "Statement",
    "UserError",
    "__version__",
    "attach",
    "audit",
    "export_onnx",
    "load",
    "load_model",
    "load_weights",
    "objective_terms",
    "save_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'iavit' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
