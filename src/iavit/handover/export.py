"""A model as one ONNX graph: prediction, map and contributions of a batch of any size."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save

from iavit.errors import UserError
from iavit.files import make_folder, write_bytes
from iavit.model.black_box import BlackBox
from iavit.model.explainable import evaluating
from iavit.model.graph import OUTPUTS, Graph
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved
from iavit.provenance import commit

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the newest that onnxruntime runs everywhere, in the browser too
LARGEST = 2**31 - 1  # bytes of one protocol buffer


def export_onnx(saved: Saved, path: str | Path, *, pixels: bool = False) -> None:
    """Write a model as one ONNX file; what is needed to use it stands in its metadata.

    The input `images` is (B, 3, H, W) float32, normalised, or with `pixels` (B, H, W, 3) uint8
    as an image file is decoded; B is free. The outputs are `OUTPUTS`.

    Raises `UserError` for a path that cannot be written, a model of more than 2 GB, and where the
    packages of the extra `export` are missing.
    """
    path = Path(path)
    check_path(path)
    proto = onnx_graph(saved, pixels=pixels)
    if proto.ByteSize() > LARGEST:
        raise UserError(f"{path}: the graph has more than 2 GB; export a smaller model")
    write_bytes(path, proto.SerializeToString())


def onnx_graph(saved: Saved, *, pixels: bool = False) -> onnx.ModelProto:
    """The graph that `export_onnx` writes."""
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter needs it, and says so in a traceback)
    except ImportError as error:
        raise UserError(
            "exporting needs the packages onnx and onnxscript: pip install 'iavit[export]'"
        ) from error
    if isinstance(saved.model.extractor, BlackBox):
        raise UserError(
            "a classifier that is no vision transformer of timm is not exported; export it with "
            "its own library, and ask for explanations with `iavit serve` or iavit.load"
        )
    graph = Graph(saved.model, saved.normalisation if pixels else None)
    height, width = image_sides(saved.model)
    device = next(saved.model.parameters()).device
    # Two images, as torch takes a size of 1 for one that is always 1.
    images = torch.zeros(2, 3, height, width, device=device)
    if pixels:
        images = torch.zeros(2, height, width, 3, dtype=torch.uint8, device=device)
    batch = {"images": {0: torch.export.Dim("batch")}}
    with evaluating(saved.model), torch.no_grad(), _quiet():
        program = torch.export.export(graph.eval(), (images,), dynamic_shapes=batch)
        exported = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=OUTPUTS,
            opset_version=OPSET,
            verbose=False,
        )
    if exported is None:  # which torch's own types allow, and dynamo=True does not
        raise UserError("torch exported nothing; use the version of torch in constraints.txt")
    proto = exported.model_proto
    onnx.helper.set_model_props(proto, metadata(saved, pixels=pixels))
    return proto


def metadata(saved: Saved, *, pixels: bool = False) -> dict[str, str]:
    """What is needed to use the graph, each entry as JSON or as one word.

    `bias` is the part of the interpreter's logits that belongs to no patch: with it, the
    contributions of any patches are an answer. `sha256` is that of `model.safetensors`.
    """
    model = saved.model
    return {
        "classes": json.dumps(saved.classes, ensure_ascii=False),
        "mean": json.dumps(saved.normalisation.mean),
        "std": json.dumps(saved.normalisation.std),
        "pixel_range": json.dumps(saved.normalisation.pixel_range),
        "image_size": json.dumps(model.architecture.img_size),
        "grid": json.dumps(model.grid),
        "bias": json.dumps([round(value, 8) for value in model.interpreter.bias.tolist()]),
        "input": "uint8 (B, H, W, 3)" if pixels else "float32 (B, 3, H, W), normalised",
        "backbone": model.architecture.backbone,
        "version": version("iavit"),
        "commit": commit() or "unknown",
        "sha256": weights_sha256(model),
    }


def weights_sha256(model: IAViT) -> str:
    """The SHA-256 of the model's `model.safetensors`, in hexadecimal."""
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    return hashlib.sha256(save(state)).hexdigest()


def image_sides(model: IAViT) -> tuple[int, int]:
    """(height, width) in pixels of the images that the model reads."""
    size = model.architecture.img_size
    return (size, size) if isinstance(size, int) else size


def check_path(path: Path) -> None:
    """Refuse what cannot be written, before a minute of work is spent on it."""
    if path.suffix != ".onnx":
        raise UserError(f"{path}: models are exported as .onnx; name a file that ends so")
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it, such as {path}/model.onnx")
    make_folder(path.parent)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on its own work; it raises what goes wrong."""
    logger = logging.getLogger("onnxscript")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
