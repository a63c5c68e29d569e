"""Folders that `save_pretrained` and the like leave: what their descriptions say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.model import published
from iavit.model.iavit import IAViT
from iavit.model.published import Published, read_published, weights_in
from iavit.model.weights import Saved, save_model

HALF, OTHER = (0.5, 0.5, 0.5), (0.25, 0.5, 0.75)
TRANSFORMERS = {  # as transformers 5 writes it, without what is not read
    "architectures": ["ViTForImageClassification"],
    "hidden_size": 192,
    "num_hidden_layers": 12,
    "image_size": 64,
    "patch_size": 16,
    "model_type": "vit",
    "id2label": {"0": "cat", "1": "dog"},
}


def written(folder: Path, description: dict[str, Any], **others: dict[str, Any]) -> Path:
    (folder / "config.json").write_text(json.dumps(description))
    for name, content in others.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_timms_layout(tmp_path: Path) -> None:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=64)
    vit.pretrained_cfg["std"] = OTHER
    timm.models.save_for_hf(vit, tmp_path, model_config={"label_names": ["a", "b", "c"]})
    assert read_published(tmp_path) == Published(
        "vit_tiny_patch16_224", 64, HALF, OTHER, ("a", "b", "c")
    )


def test_timms_layout_without_names(tmp_path: Path) -> None:
    timm.models.save_for_hf(timm.create_model("vit_tiny_patch16_224", num_classes=3), tmp_path)
    found = read_published(tmp_path)
    assert (found.img_size, found.classes) == (224, ("0", "1", "2"))


def test_transformers_layout(tmp_path: Path) -> None:
    images = {"image_mean": HALF, "image_std": OTHER}
    written(tmp_path, TRANSFORMERS, preprocessor_config=images)
    assert read_published(tmp_path) == Published(
        "vit_tiny_patch16_224", 64, HALF, OTHER, ("cat", "dog")
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image_size": 384, "hidden_size": 768}, ("vit_base_patch16_384", ("cat", "dog"))),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, ("vit_tiny_patch16_224", ("0", "1"))),
        (
            {"architectures": ["DeiTForImageClassificationWithTeacher"], "id2label": None},
            ("deit_tiny_distilled_patch16_224", ("0", "1")),
        ),
    ],
    ids=["size", "unnamed", "teacher"],
)
def test_transformers_layout_in_other_forms(
    tmp_path: Path, changes: dict[str, Any], expected: tuple[str, tuple[str, ...]]
) -> None:
    found = read_published(written(tmp_path, TRANSFORMERS | changes))
    assert (found.backbone, found.classes) == expected
    assert found.mean == ()


def test_our_own_layout(tmp_path: Path) -> None:
    model = IAViT.create("vit_digits", 2, 16)
    save_model(Saved(model, ("x", "y"), Normalisation(OTHER, HALF)), tmp_path)
    assert read_published(tmp_path) == Published("vit_digits", 16, OTHER, HALF, ("x", "y"))
    assert weights_in(tmp_path) == tmp_path / "model.safetensors"


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"architecture": 3},
        {"architecture": "resnet50"},
        {"architecture": {}},
        TRANSFORMERS | {"architectures": ["BertModel"]},
        TRANSFORMERS | {"architectures": []},
        TRANSFORMERS | {"hidden_size": 191},
        TRANSFORMERS | {"image_size": "large"},
        TRANSFORMERS | {"id2label": {"3": "cat"}},
    ],
    ids=str,
)
def test_what_describes_no_classifier_is_refused(
    tmp_path: Path, description: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match="describes no classifier that is known here"):
        read_published(written(tmp_path, description))


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"\xff", b"[" * 100_000, b"1"], ids=lambda c: c[:4]
)
def test_what_is_no_description_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a description in JSON"):
        read_published(tmp_path)


def test_a_description_without_end_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.dumps(TRANSFORMERS)
    monkeypatch.setattr(published, "LIMIT", len(content))
    assert read_published(written(tmp_path, TRANSFORMERS)).img_size == 64
    monkeypatch.setattr(published, "LIMIT", len(content) - 1)
    with pytest.raises(UserError, match="cannot be read as a description"):
        read_published(tmp_path)


def test_names_that_are_too_few_and_images_that_are_no_squares(tmp_path: Path) -> None:
    described: dict[str, Any] = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 3,
        "label_names": ["a", "b"],
        "pretrained_cfg": {"input_size": [3, 48, 48], "mean": HALF, "std": OTHER},
    }
    assert read_published(written(tmp_path, described)).classes == ("0", "1", "2")
    described["pretrained_cfg"]["input_size"] = [3, 48, 32]
    with pytest.raises(UserError, match="describes no classifier"):
        read_published(written(tmp_path, described))


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        weights_in(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert weights_in(tmp_path).name == "pytorch_model.bin"
