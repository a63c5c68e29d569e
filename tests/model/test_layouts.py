"""Vision transformers under other libraries' names say what they say there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer as TorchvisionTransformer

from iavit.model.checkpoints import load_weights
from iavit.model.layouts import description, unwrapped
from tests.model.test_checkpoints import create, images, state_of

DIM, DEPTH, HEADS, PATCH, SIZE, CLASSES = 12, 2, 3, 4, 12, 5


def randomised(module: nn.Module) -> Any:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


def test_torchvisions_transformer_says_the_same(tmp_path: Path) -> None:
    theirs = randomised(
        TorchvisionTransformer(SIZE, PATCH, DEPTH, HEADS, DIM, 4 * DIM, num_classes=CLASSES)
    )
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    model = create()
    loaded = load_weights(model, tmp_path / "w.pth")
    assert (loaded.new, loaded.unused) == (("interpreter",), ())
    torch.testing.assert_close(model.predict(images()), theirs(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("saved", ["state", "pretrained"])
def test_transformers_transformer_says_the_same(tmp_path: Path, saved: str) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=DIM, num_hidden_layers=DEPTH, num_attention_heads=HEADS, layer_norm_eps=1e-6,
        intermediate_size=4 * DIM, image_size=SIZE, patch_size=PATCH, num_labels=CLASSES,
    )  # fmt: skip
    theirs: Any = randomised(transformers.ViTForImageClassification(config))
    if saved == "state":
        path = tmp_path / "w.pth"
        torch.save(theirs.state_dict(), path)
    else:
        theirs.save_pretrained(tmp_path)
        path = tmp_path / "model.safetensors"
    model = create()
    loaded = load_weights(model, path)
    assert (loaded.new, loaded.unused) == (("interpreter",), ())
    expected = theirs(images()).logits
    torch.testing.assert_close(model.predict(images()), expected, rtol=1e-4, atol=1e-4)


CLASSIC = """
vit.embeddings.cls_token vit.embeddings.position_embeddings
vit.embeddings.patch_embeddings.projection.weight vit.embeddings.patch_embeddings.projection.bias
vit.encoder.layer.0.attention.attention.key.weight
vit.encoder.layer.0.attention.attention.query.weight
vit.encoder.layer.0.attention.attention.value.weight
vit.encoder.layer.0.attention.output.dense.weight vit.encoder.layer.0.intermediate.dense.weight
vit.encoder.layer.0.layernorm_after.weight vit.encoder.layer.0.layernorm_before.weight
vit.encoder.layer.0.output.dense.weight vit.layernorm.weight classifier.weight
"""
RECENT = """
model.dinov2.embeddings.cls_token model.dinov2.embeddings.position_embeddings
model.dinov2.embeddings.patch_embeddings.projection.weight
model.dinov2.embeddings.patch_embeddings.projection.bias
model.dinov2.encoder.layer.0.attention.k_proj.weight
model.dinov2.encoder.layer.0.attention.q_proj.weight
model.dinov2.encoder.layer.0.attention.v_proj.weight
model.dinov2.encoder.layer.0.attention.o_proj.weight model.dinov2.encoder.layer.0.mlp.fc1.weight
model.dinov2.encoder.layer.0.norm2.weight model.dinov2.encoder.layer.0.norm1.weight
model.dinov2.encoder.layer.0.mlp.fc2.weight model.dinov2.layernorm.weight model.classifier.weight
"""
# In the order of both lists; queries, keys and values are 5, 4 and 6.
TIMM = """
cls_token pos_embed patch_embed.proj.weight patch_embed.proj.bias k q v blocks.0.attn.proj.weight
blocks.0.mlp.fc1.weight blocks.0.norm2.weight blocks.0.norm1.weight blocks.0.mlp.fc2.weight
norm.weight head.weight
"""


@pytest.mark.parametrize("names", [CLASSIC, RECENT])
def test_every_name_of_transformers_has_its_place(names: str) -> None:
    state = {name: torch.tensor([float(n)]) for n, name in enumerate(names.split())}
    found = {name: value.tolist() for name, value in unwrapped(state).items()}
    expected = {name: [float(n)] for n, name in enumerate(TIMM.split()) if len(name) > 1}
    assert found == {**expected, "blocks.0.attn.qkv.weight": [5.0, 4.0, 6.0]}


PREFIXES = ("model.", "net.backbone.", "_orig_mod.", "module._forward_module.", "a.b.c.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_any_common_prefix_is_looked_through(tmp_path: Path, prefix: str) -> None:
    source, model = create(seed=1), create()
    state: dict[str, Tensor] = {f"{prefix}{k}": v for k, v in state_of(source).items()}
    state["criterion.weight"] = torch.ones(3)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.ckpt")
    assert load_weights(model, tmp_path / "w.ckpt").new == ("interpreter",)
    assert torch.equal(model.predict(images()), source.predict(images()))


def test_a_teacher_beside_a_smaller_student_is_taken(tmp_path: Path) -> None:
    teacher, model = create(seed=1), create()
    small: dict[str, Any] = {
        f"backbone.{k}": v for k, v in state_of(create(depth=1, embed_dim=6)).items()
    }
    state = {
        "student": small,
        "teacher": {f"backbone.{k}": v for k, v in state_of(teacher).items()},
    }
    torch.save({**state, "epoch": 3}, tmp_path / "w.pth")
    load_weights(model, tmp_path / "w.pth")
    assert torch.equal(model.predict(images()), teacher.predict(images()))


def test_what_a_file_holds_is_described_with_the_backbone_that_has_it() -> None:
    state = timm.create_model("vit_tiny_patch16_224", num_classes=3).state_dict()
    assert description(state) == (
        "it has 12 blocks of width 192 and patches of 16 pixels, as vit_tiny_patch16_224 has"
    )
    assert description(state_of(create())) == (
        "it has 2 blocks of width 12 and patches of 4 pixels"
    )
    assert description({"conv1.weight": torch.zeros(1)}) == (
        "it has the parameters conv1.weight, ... and no transformer's in them"
    )
