"""Vision transformers under other libraries' names for their parameters, and inside wrappers.

A file holds a transformer of one of these layouts, under whatever prefix its trainer gave it:
`model.`, `backbone.`, `student.backbone.`, ...
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor

State = dict[str, Tensor]

# torchvision's names to timm's, in the order in which they are tried.
_TORCHVISION = (
    (r"class_token", r"cls_token"),
    (r"encoder\.pos_embedding", r"pos_embed"),
    (r"conv_proj\.(\w+)", r"patch_embed.proj.\1"),
    (r"encoder\.ln\.(\w+)", r"norm.\1"),
    (r"heads\.head\.(\w+)", r"head.\1"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])\.(\w+)", r"blocks.\1.norm\2.\3"),
    (
        r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj_(\w+)",
        r"blocks.\1.attn.qkv.\2",
    ),
    (
        r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj\.(\w+)",
        r"blocks.\1.attn.proj.\2",
    ),
    (
        r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)\.(\w+)",
        r"blocks.\1.mlp.fc1.\2",
    ),
    (
        r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)\.(\w+)",
        r"blocks.\1.mlp.fc2.\2",
    ),
)
# Those of transformers' ViT, DeiT and DINOv2: of its files, and of its models since version 5.
_LAYER = r"(?:encoder\.layer|layers)\.(\d+)\."
_TRANSFORMERS = (
    (r"embeddings\.cls_token", r"cls_token"),
    (r"embeddings\.distillation_token", r"dist_token"),
    (r"embeddings\.position_embeddings", r"pos_embed"),
    (r"embeddings\.patch_embeddings\.projection\.(\w+)", r"patch_embed.proj.\1"),
    (r"layernorm\.(\w+)", r"norm.\1"),
    (r"(?:cls_)?classifier\.(\w+)", r"head.\1"),
    (r"distillation_classifier\.(\w+)", r"head_dist.\1"),
    (_LAYER + r"(?:layernorm_before|norm1)\.(\w+)", r"blocks.\1.norm1.\2"),
    (_LAYER + r"(?:layernorm_after|norm2)\.(\w+)", r"blocks.\1.norm2.\2"),
    (_LAYER + r"attention\.(?:output\.dense|o_proj)\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (_LAYER + r"(?:intermediate\.dense|mlp\.fc1)\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (_LAYER + r"(?:output\.dense|mlp\.fc2)\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (_LAYER + r"layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
    (_LAYER + r"attention\.(?:attention\.)?(q|k|v)\w*\.(\w+)", r"blocks.\1.attn.\2.\3"),
)
# What each layout has, at the end of a name: what stands before it is a wrapper's prefix.
_OURS = re.compile(r"(.*?)extractor\.backbone\.patch_embed\..*")
_AUTHORS = re.compile(r"(.*?)transformer\.encoder\.encoder_norm\.weight")
_TIMM = re.compile(r"(.*?)patch_embed\..*")
_ANCHORS: tuple[tuple[re.Pattern[str], tuple[tuple[str, str], ...]], ...] = (
    (_OURS, ()),
    (_AUTHORS, ()),
    (_TIMM, ()),
    (re.compile(r"(.*?)conv_proj\.weight"), _TORCHVISION),
    (re.compile(r"(.*?)embeddings\.patch_embeddings\.projection\.weight"), _TRANSFORMERS),
)
_OPEN_CLIP = "visual.trunk."  # a prefix that timm removes itself, with a head beside it
_SIZES = {  # width and depth, as timm names them
    (192, 12): "tiny",
    (384, 12): "small",
    (768, 12): "base",
    (1024, 24): "large",
    (1280, 32): "huge",
}


def unwrapped(state: Mapping[str, Any]) -> State:
    """The tensors of a vision transformer under timm's names, or those of an `IAViT`.

    Nested dictionaries count as prefixes. Where several copies of a model are in a file, such as
    a teacher and a student, it is the one of most parameters, or else the first. Tensors of a
    layout that is not known here keep their names.
    """
    tensors = _flat(state)
    for anchor, names in _ANCHORS:
        matches = (anchor.fullmatch(name) for name in tensors)
        prefixes = dict.fromkeys(match[1] for match in matches if match is not None)
        if not prefixes:
            continue
        prefix = max(prefixes, key=lambda lead: sum(name.startswith(lead) for name in tensors))
        if prefix.endswith(_OPEN_CLIP):
            return tensors
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        outer = prefix.rpartition(".")[0].rpartition(".")[0]  # a classifier stands beside the model
        beside = {
            name.removeprefix(f"{outer}." if outer else ""): value
            for name, value in tensors.items()
            if re.fullmatch(re.escape(f"{outer}." if outer else "") + r"\w*classifier\.\w+", name)
        }
        return _renamed({**beside, **own}, names) if names else own
    return tensors


def description(state: Mapping[str, Tensor]) -> str:
    """What a transformer under timm's names is like, and the backbone that has this form."""
    state = {name.removeprefix("extractor.backbone."): value for name, value in state.items()}
    patches = state.get("patch_embed.proj.weight")
    blocks = {int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.", name))}
    if patches is None or patches.ndim != 4 or not blocks:
        names = ", ".join(list(state)[:3])
        return f"it has the parameters {names}, ... and no transformer's in them"
    width, side, depth = patches.shape[0], patches.shape[3], max(blocks) + 1
    form = f"it has {depth} blocks of width {width} and patches of {side} pixels"
    size = size_name(width, depth)
    near = timm.list_models(f"vit_{size}_patch{side}_*") if size else []
    return f"{form}, as {min(near, key=len)} has" if near else form


def size_name(width: int, depth: int) -> str | None:
    """What timm calls a transformer of so many channels and blocks, such as `base`."""
    return _SIZES.get((width, depth))


def _flat(state: Mapping[str, Any]) -> State:
    """Nested dictionaries with names joined by dots; what is no tensor is left."""
    found: State = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            found[str(name)] = value
        elif isinstance(value, Mapping):
            found |= {f"{name}.{inner}": tensor for inner, tensor in _flat(value).items()}
    return found


def _renamed(state: State, names: tuple[tuple[str, str], ...]) -> State:
    """Under timm's names; queries, keys and values that stand apart are joined."""
    renamed: State = {}
    for name, value in state.items():
        for pattern, replacement in names:
            if re.fullmatch(pattern, name):
                renamed[re.sub(pattern, replacement, name)] = value
                break
        else:
            renamed[name] = value
    for name in [name for name in renamed if re.search(r"\.attn\.q\.\w+$", name)]:
        lead, kind = name.rsplit(".q.", 1)
        parts = [renamed.pop(f"{lead}.{part}.{kind}") for part in ("q", "k", "v")]
        renamed[f"{lead}.qkv.{kind}"] = torch.cat(parts)
    return renamed
