"""The exported graph against torch: every family, any batch, and what its metadata says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from docs.families import FAMILIES, Family, small
from torch import Tensor

from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.handover.export import export_onnx, onnx_graph
from iavit.model.graph import OUTPUTS
from iavit.model.iavit import IAViT
from iavit.model.interpreter import InterpreterHead
from iavit.model.weights import Saved, save_model
from tests.model.test_families import images, joined

CLASSES = ("cat", "dog", "Überraschung", "a, b", '"')
NORMALISATION = Normalisation((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
PARITY = 1e-5


def saved(family: Family = FAMILIES[1]) -> Saved:
    return Saved(joined(small(family)).eval(), CLASSES, NORMALISATION)


def expected(model: IAViT, pictures: Tensor) -> list[Tensor]:
    """What the model itself says, through its public methods."""
    with torch.no_grad():
        output = model(pictures)
        return [
            output.logits.softmax(dim=-1),
            output.interpreter_logits.softmax(dim=-1),
            output.interpreter_attention,
            model.contributions(pictures),
        ]


def session(proto: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )


QUICK = "eva02_small_patch14_224"  # the others take as long each


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, id=family.name, marks=() if family.name == QUICK else pytest.mark.slow)
        for family in FAMILIES
    ],
)
def test_every_family_says_in_onnxruntime_what_it_says_in_torch(family: Family) -> None:
    of = saved(family)
    running = session(onnx_graph(of))
    assert [output.name for output in running.get_outputs()] == list(OUTPUTS)
    for count in (1, 5):
        pictures = images(of.model.extractor.backbone, count)
        found = running.run(None, {"images": pictures.numpy()})
        for ours, theirs in zip(expected(of.model, pictures), found, strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=PARITY)
            assert np.ptp(theirs) > 100 * PARITY  # or equality would say nothing


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Saved, Path]:
    """A model and the file of its graph."""
    of, path = saved(), tmp_path_factory.mktemp("graph") / "new" / "model.onnx"
    export_onnx(of, path)
    return of, path


def test_the_metadata_is_what_is_needed_to_use_the_graph(
    written: tuple[Saved, Path], tmp_path: Path
) -> None:
    of, path = written
    save_model(of, tmp_path / "model")
    assert list(path.parent.iterdir()) == [path]
    proto = onnx.load(path)
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(facts["classes"]) == list(CLASSES)
    assert json.loads(facts["mean"]) == [0.1, 0.2, 0.3]
    assert json.loads(facts["std"]) == [0.5, 0.6, 0.7]
    assert json.loads(facts["image_size"]) == [48, 32]
    assert json.loads(facts["grid"]) == [3, 2]
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert facts["sha256"] == hashlib.sha256(weights).hexdigest()
    assert facts["version"] == "0.1.0"
    assert facts["commit"] == "unknown" or len(facts["commit"].removesuffix("-dirty")) == 40
    (given,) = proto.graph.input
    dimensions = given.type.tensor_type.shape.dim
    assert dimensions[0].dim_param
    assert [dimension.dim_value for dimension in dimensions[1:]] == [3, 48, 32]


def test_contributions_of_some_patches_and_the_bias_are_an_answer(
    written: tuple[Saved, Path],
) -> None:
    of, path = written
    proto = onnx.load(path)
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    pictures = images(of.model.extractor.backbone, 3)
    found = dict(zip(OUTPUTS, session(proto).run(None, {"images": pictures.numpy()}), strict=True))
    logits = found["contributions"].sum(axis=1) + np.array(json.loads(facts["bias"]))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, found["interpreter_probabilities"], rtol=0, atol=PARITY)


def test_pixels_are_normalised_inside_the_graph() -> None:
    of = saved()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (3, 48, 32, 3), generator=generator, dtype=torch.uint8)
    found = session(onnx_graph(of, pixels=True)).run(None, {"images": pixels.numpy()})
    normalised = NORMALISATION.normalise(pixels.permute(0, 3, 1, 2))
    for ours, theirs in zip(expected(of.model, normalised), found, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=PARITY)


@pytest.mark.slow
@pytest.mark.parametrize(("head", "branch"), [("positional", 0), ("mean", None)])
def test_the_authors_head_and_a_branch_are_exported_too(
    head: InterpreterHead, branch: int | None
) -> None:
    model = IAViT.create("vit_digits", 10, interpreter_head=head, branch_width=branch)
    of = replace(saved(), model=model.eval(), classes=tuple("0123456789"))
    pictures = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = session(onnx_graph(of)).run(None, {"images": pictures.numpy()})
    for ours, theirs in zip(expected(model, pictures), found, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=PARITY)


@pytest.mark.slow
def test_a_model_is_left_in_the_mode_that_it_was_in() -> None:
    of = saved()
    of.model.train()
    onnx_graph(of)
    assert of.model.training
    assert of.model.extractor.backbone.training


@pytest.mark.parametrize("name", ["model.pt", "folder.onnx", "file/model.onnx"])
def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"model\.pt|folder\.onnx|file is a file") as told:
        export_onnx(saved(), tmp_path / name)
    assert "\n" not in str(told.value)
    assert sorted(tmp_path.rglob("*")) == before
