"""Checkpoints of the authors' notebooks, under the names of this package.

Source: github.com/qiangyao1988/IA-ViT, whose transformer has the names of jeonsworth/ViT-pytorch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

State = dict[str, Tensor]

# Outside the blocks: theirs to timm's.
_OUTER = {
    "transformer.embeddings.cls_token": "cls_token",
    "transformer.embeddings.position_embeddings": "pos_embed",
    "transformer.embeddings.patch_embeddings": "patch_embed.proj",
    "transformer.encoder.encoder_norm": "norm",
    "head": "head",
}
# In a block, queries, keys and values apart.
_INNER = {
    "attention_norm": "norm1",
    "ffn_norm": "norm2",
    "attn.out": "attn.proj",
    "ffn.fc1": "mlp.fc1",
    "ffn.fc2": "mlp.fc2",
}
# Theirs to ours; `inter_head` is the mean head of Dogs vs Cats, the others have `fc1` and `fc2`.
_INTERPRETER = {
    "query": "query",
    "key": "key",
    "value": "value",
    "fc1": "token_score",
    "fc2": "head",
    "inter_head": "head",
}


def is_authors(state: Mapping[str, object]) -> bool:
    """Whether these are the parameters of one of the notebooks."""
    return "transformer.encoder.encoder_norm.weight" in state and "query.weight" in state


def convert(state: Mapping[str, Tensor]) -> tuple[State, State]:
    """The notebooks' parameters to those of the backbone and of the interpreter.

    The notebooks leave `1 / sqrt(D)` out of the interpreter's scores. Here it is always in, so
    queries are made `sqrt(D)` times as long: logits, contributions and attention are theirs.
    Their extractor attention is a sum over layers; ours is that sum, scaled to add up to 1.

    Raises `KeyError` where a parameter is missing.
    """
    backbone = {
        f"{new}{kind}": state[f"{old}{kind}"]
        for old, new in _OUTER.items()
        for kind in ("", ".weight", ".bias")
        if f"{old}{kind}" in state
    }
    layer = "transformer.encoder.layer."
    depth = len({name.split(".")[3] for name in state if name.startswith(layer)})
    for at in range(depth):
        for kind in ("weight", "bias"):
            for old, new in _INNER.items():
                backbone[f"blocks.{at}.{new}.{kind}"] = state[f"{layer}{at}.{old}.{kind}"]
            parts = [state[f"{layer}{at}.attn.{n}.{kind}"] for n in ("query", "key", "value")]
            backbone[f"blocks.{at}.attn.qkv.{kind}"] = torch.cat(parts)
    interpreter = {
        f"{new}.{kind}": state[f"{old}.{kind}"]
        for old, new in _INTERPRETER.items()
        for kind in ("weight", "bias")
        if f"{old}.{kind}" in state
    }
    root = state["query.weight"].shape[0] ** 0.5
    for kind in ("weight", "bias"):
        interpreter[f"query.{kind}"] = state[f"query.{kind}"] * root
    return backbone, interpreter
