"""Classifiers as files of torch.export: a graph of operators, carried out node by node.

torch's own reader is for files that one trusts: it unpickles parts of them and evaluates text. What
a graph says is plain, though: which operator is given which earlier values. So it is read as data
here, and nothing of it becomes code: an operator is one of torch's on tensors, or the file is
refused with its name, and so is what would have to be unpickled. The format is that of
torch.export.save, version 8 of its schema (torch/_export/serde/schema.py).
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.operators import tensor_functions

SCHEMA = 8
Argument = Mapping[str, Any]  # one kind, and what is given: {"as_int": 3}

_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_LAYOUTS = {7: torch.strided}
# Where an input says which tensor of the archive it is.
_TENSOR_NAMES = {
    "parameter": "parameter_name",
    "buffer": "buffer_name",
    "tensor_constant": "tensor_constant_name",
}
_KEYWORD = 2
_TENSOR_OPERATOR = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)
# What is computed on sizes.
_ON_NUMBERS: dict[str, Callable[..., Any]] = {
    f"_operator.{function.__name__}": function
    for function in (
        *(operator.add, operator.sub, operator.mul, operator.neg),
        *(operator.floordiv, operator.truediv, operator.mod),
        *(operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge),
    )
}


@dataclass(frozen=True)
class Node:
    """A step of the graph.

    outputs: names of what it gives. ended: names of values that no later node reads.
    """

    function: Callable[..., Any]
    positional: tuple[Argument, ...]
    keywords: Mapping[str, Argument]
    outputs: tuple[str, ...]
    ended: tuple[str, ...]


class Graph(nn.Module):
    """A classifier that was exported: images (B, 3, H, W) to logits (B, C).

    nodes: in their order. tensors: its weights and constants, by name. images, answer: names of
    what it is given and of what it gives.
    """

    def __init__(
        self, nodes: Sequence[Node], tensors: Mapping[str, Tensor], images: str, answer: str
    ) -> None:
        super().__init__()
        self.nodes = tuple(nodes)
        self.names = tuple(tensors)
        self.images = images
        self.answer = answer
        for index, tensor in enumerate(tensors.values()):
            self.register_buffer(f"tensor_{index}", tensor)

    def forward(self, images: Tensor) -> Any:
        values: dict[str, Any] = {
            name: getattr(self, f"tensor_{index}") for index, name in enumerate(self.names)
        }
        values[self.images] = images
        for node in self.nodes:
            given = [_value(argument, values, images.device) for argument in node.positional]
            named = {
                name: _value(argument, values, images.device)
                for name, argument in node.keywords.items()
            }
            result = node.function(*given, **named)
            results = result if isinstance(result, (list, tuple)) else (result,)
            values.update(zip(node.outputs, results, strict=True))
            for name in node.ended:
                del values[name]
        return values[self.answer]


def is_graph(archive: torch._C.PyTorchFileReader) -> bool:
    """Whether torch.export wrote an archive."""
    return any(name.startswith("models/") for name in archive.get_all_records())


def foreign_operators(archive: torch._C.PyTorchFileReader) -> list[str]:
    """What the graph calls that is not allowed, in order."""
    called = {node["target"] for node in _content(archive)[1]["graph_module"]["graph"]["nodes"]}
    return sorted(target for target in called if _function(target) is None)


def read_graph(archive: torch._C.PyTorchFileReader) -> Graph:
    """The classifier in an archive without foreign operators.

    Raises `UserError` for a graph of other inputs or outputs, of a fixed number of images or of
    training, or of another schema; and `KeyError`, `TypeError`, `ValueError`, `RuntimeError` or
    `IndexError` where it is damaged.
    """
    name, program = _content(archive)
    if program["schema_version"]["major"] != SCHEMA:
        raise UserError(
            f"is of version {program['schema_version']['major']} of torch.export's schema, and "
            f"{SCHEMA} is read; export it again with torch {torch.__version__}"
        )
    graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
    stored = _stored(archive, name, "weights") | _stored(archive, name, "constants")
    tensors: dict[str, Tensor] = {}
    inputs: list[str] = []
    for spec in signature["input_specs"]:
        ((kind, what),) = spec.items()
        if kind == "user_input":
            inputs.extend(_names(what["arg"]))
        elif kind in _TENSOR_NAMES:
            tensors[what["arg"]["name"]] = stored[what[_TENSOR_NAMES[kind]]]
        elif kind != "constant_input":  # which is built into the graph
            raise UserError(f"holds a {kind}; export the model alone, without it")
    if len(inputs) != 1 or inputs[0] not in graph["tensor_values"]:
        raise UserError(f"takes {len(inputs)} inputs; export a model of images alone")
    sizes = graph["tensor_values"][inputs[0]]["sizes"]
    if "as_int" in sizes[0]:
        raise UserError(
            f"is exported for exactly {sizes[0]['as_int']} images; give torch.export.export "
            "dynamic_shapes=({0: torch.export.Dim.AUTO},)"
        )
    changed = [kind for spec in signature["output_specs"] for kind in spec if kind != "user_output"]
    if changed or any(_is_training(node) for node in graph["nodes"]):
        raise UserError("is exported in training mode; call model.eval() before torch.export")
    outputs = list(_names(graph["outputs"]))
    if len(outputs) != 1:
        raise UserError(f"gives {len(outputs)} outputs; export a model that gives logits alone")
    nodes = _nodes(graph["nodes"], {*tensors, *inputs}, outputs[0])
    return Graph(nodes, tensors, inputs[0], outputs[0])


def _content(archive: torch._C.PyTorchFileReader) -> tuple[str, dict[str, Any]]:
    """The name and the text of the one model of an archive."""
    (path,) = (name for name in archive.get_all_records() if name.startswith("models/"))
    return path.removeprefix("models/").removesuffix(".json"), json.loads(archive.get_record(path))


def _stored(archive: torch._C.PyTorchFileReader, name: str, kind: str) -> dict[str, Tensor]:
    """The tensors of one kind, by name; several may share what is stored."""
    config = json.loads(archive.get_record(f"data/{kind}/{name}_{kind}_config.json"))["config"]
    tensors = {}
    for tensor, payload in config.items():
        meta = payload["tensor_meta"]
        if payload["use_pickle"] or meta is None:
            raise UserError(f"{tensor} is a pickle, which could run code; export it as a tensor")
        content = bytearray(archive.get_record(f"data/{kind}/{payload['path_name']}"))
        dtype = _DTYPES[meta["dtype"]]
        flat = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        shape, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
        tensors[tensor] = flat.as_strided(shape, strides, meta["storage_offset"]["as_int"])
    return tensors


def _nodes(steps: Sequence[Mapping[str, Any]], known: set[str], answer: str) -> list[Node]:
    """The steps that compute: one without outputs only checks sizes and types."""
    steps = [step for step in steps if step["outputs"]]
    last = {name: index for index, step in enumerate(steps) for name in _names(step["inputs"])}
    nodes = []
    for index, step in enumerate(steps):
        read, outputs = set(_names(step["inputs"])), tuple(_names(step["outputs"]))
        if unknown := read - known:
            raise KeyError(f"{unknown} before it is computed")
        function = _function(step["target"])
        if function is None:
            raise ValueError(step["target"])
        known.update(outputs)
        ended = {name for name in (*read, *outputs) if last.get(name, index) == index} - {answer}
        inputs = [(item["name"], item["arg"], item["kind"]) for item in step["inputs"]]
        nodes.append(
            Node(
                function,
                tuple(argument for _, argument, kind in inputs if kind != _KEYWORD),
                {name: argument for name, argument, kind in inputs if kind == _KEYWORD},
                outputs,
                tuple(ended),
            )
        )
    if answer not in known:
        raise KeyError(answer)
    return nodes


def _function(target: str) -> Callable[..., Any] | None:
    """The operator of this name; None for one that is not allowed or not there."""
    found = _TENSOR_OPERATOR.fullmatch(target)
    if found is None:
        return _ON_NUMBERS.get(target)
    name, overload = found.groups()
    if name not in tensor_functions():
        return None
    packet = getattr(torch.ops.aten, name, None)
    return getattr(packet, overload) if packet and overload in packet.overloads() else None


def _is_training(step: Mapping[str, Any]) -> bool:
    """Whether a step of dropout or batch statistics is that of training."""
    return any(
        item["name"] in ("train", "training") and item["arg"].get("as_bool")
        for item in step["inputs"]
    )


def _names(part: Any) -> Iterator[str]:
    """The names of values in arguments, as deep as they lie."""
    if isinstance(part, Mapping):
        if "arg" in part:  # `name` is then the argument's
            part = {"arg": part["arg"]}
        for key, content in part.items():
            if key in ("name", "as_name"):
                yield content
            else:
                yield from _names(content)
    elif isinstance(part, list):
        for content in part:
            yield from _names(content)


def _value(argument: Argument, values: Mapping[str, Any], device: torch.device) -> Any:
    """What an argument gives, a device being that of the images."""
    ((kind, content),) = argument.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return values[content["name"]]
        case "as_name":
            return values[content]
        case "as_tensors":
            return [values[item["name"]] for item in content]
        case "as_int" | "as_ints" | "as_bool" | "as_bools" | "as_string":
            return content
        case "as_float":
            return float(content)  # infinity is told as a text
        case "as_floats":
            return [float(number) for number in content]
        case "as_sym_int" | "as_sym_float" | "as_sym_bool" | "as_optional_tensor":
            return _value(content, values, device)
        case "as_sym_ints" | "as_sym_floats" | "as_sym_bools" | "as_optional_tensors":
            return [_value(item, values, device) for item in content]
        case "as_scalar_type":
            return _DTYPES[content]
        case "as_memory_format":
            return _MEMORY_FORMATS[content]
        case "as_layout":
            return _LAYOUTS[content]
        case "as_device":
            return device
    raise ValueError(f"an argument of kind {kind}")
