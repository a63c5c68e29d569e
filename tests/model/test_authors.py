"""The authors' names for parameters to those of this package."""

from __future__ import annotations

import torch
from torch import Tensor

from iavit.model.authors import convert, is_authors

DIM = 3
LAYER = "transformer.encoder.layer.0."


def notebook() -> dict[str, Tensor]:
    """Two layers of width 3; every matrix is filled with a number of its own."""
    names = ["query", "key", "value", "inter_head", "head", "transformer.encoder.encoder_norm"]
    names += [f"{LAYER}attn.{part}" for part in ("query", "key", "value", "out")]
    names += [f"{LAYER}{part}" for part in ("attention_norm", "ffn_norm", "ffn.fc1", "ffn.fc2")]
    names += [name.replace("layer.0", "layer.1") for name in names if name.startswith(LAYER)]
    state = {"transformer.embeddings.cls_token": torch.full((1, 1, DIM), -1.0)}
    for number, name in enumerate(names):
        state[f"{name}.weight"] = torch.full((DIM, DIM), float(number))
        state[f"{name}.bias"] = torch.full((DIM,), float(number))
    return state


def test_a_notebook_is_told_from_other_files() -> None:
    assert is_authors(notebook())
    assert not is_authors({"blocks.0.attn.qkv.weight": 0})
    for name in ("query.weight", "transformer.encoder.encoder_norm.weight"):
        assert not is_authors({name: 0})


def test_queries_keys_and_values_are_stacked_in_that_order() -> None:
    backbone, _ = convert(notebook())
    assert backbone["blocks.0.attn.qkv.weight"][:, 0].tolist() == [6.0] * 3 + [7.0] * 3 + [8.0] * 3
    assert backbone["blocks.0.attn.qkv.bias"].tolist() == [6.0] * 3 + [7.0] * 3 + [8.0] * 3
    assert backbone["blocks.0.norm1.weight"][0, 0] == 10
    assert backbone["blocks.0.mlp.fc2.bias"][0] == 13
    assert backbone["blocks.1.attn.qkv.bias"].tolist() == [14.0] * 3 + [15.0] * 3 + [16.0] * 3
    assert backbone["blocks.1.attn.proj.weight"][0, 0] == 17
    assert not any(name.startswith("blocks.2") for name in backbone)
    assert backbone["norm.weight"][0, 0] == 5
    assert backbone["cls_token"].flatten().tolist() == [-1.0] * 3


def test_the_interpreters_queries_are_longer_by_the_root_of_the_width() -> None:
    state = notebook()
    state["query.weight"] = torch.full((DIM, DIM), 2.0)
    _, interpreter = convert(state)
    torch.testing.assert_close(interpreter["query.weight"], torch.full((DIM, DIM), 2 * 3**0.5))
    assert interpreter["key.weight"][0, 0] == 1
    assert interpreter["head.bias"][0] == 3  # of `inter_head`
