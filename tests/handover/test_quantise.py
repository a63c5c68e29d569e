"""Graphs in 8 bits: what changes is measured, and told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnxruntime
import onnxruntime.quantization
import pytest
import torch

from iavit.data.images import InMemory
from iavit.evaluate.faithfulness import curves, difference
from iavit.explain import EXPLAINERS
from iavit.handover.export import export_onnx
from iavit.handover.quantise import _difference, _Exported, measure_change, quantise
from iavit.model.graph import Graph, GraphOutput
from iavit.model.iavit import IAViT
from iavit.model.weights import load_model
from iavit.types import Batch


@pytest.fixture(scope="module")
def graphs(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("graphs")
    whole, small = folder / "float32.onnx", folder / "int8.onnx"
    export_onnx(load_model(tiny_run / "model"), whole)
    quantise(whole, small)
    return whole, small


def images(tiny_run: Path, count: int = 20) -> InMemory:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (count,), generator=generator)
    return InMemory(pixels, labels, load_model(tiny_run / "model").normalisation)


def floats(proto: onnx.ModelProto) -> int:
    """Numbers of 32 bits among the weights."""
    kept = [tensor for tensor in proto.graph.initializer if tensor.data_type == 1]
    return int(sum(np.prod(tensor.dims) for tensor in kept))


@pytest.mark.slow
def test_matrices_are_bytes_and_the_metadata_stays(graphs: tuple[Path, Path]) -> None:
    whole, small = (onnx.load(path) for path in graphs)
    assert "MatMulInteger" in {node.op_type for node in small.graph.node}
    assert "MatMulInteger" not in {node.op_type for node in whole.graph.node}
    assert graphs[1].stat().st_size < graphs[0].stat().st_size
    assert floats(small) < 0.3 * floats(whole)  # convolutions, embeddings and norms are left
    facts = [{entry.key: entry.value for entry in proto.metadata_props} for proto in (whole, small)]
    assert facts[0] == {key: facts[1][key] for key in facts[0]}


@pytest.mark.slow
def test_the_answers_are_nearly_the_same_at_any_batch_size(graphs: tuple[Path, Path]) -> None:
    pictures = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()
    whole, small = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in graphs
    )
    for count in (1, 5):
        first, second = (
            running.run(None, {"images": pictures[:count]})[0] for running in (whole, small)
        )
        assert 0 < np.abs(first - second).max() < 0.05


class Asked:
    """A model in the place of its graph."""

    def __init__(self, model: IAViT) -> None:
        self.graph, self.grid = Graph(model), model.grid

    def __call__(self, images: torch.Tensor) -> GraphOutput:
        with torch.no_grad():
            output: GraphOutput = self.graph(images)
        return output


def test_what_masking_changes_is_what_an_evaluation_measures(tiny_run: Path) -> None:
    model = load_model(tiny_run / "model").model
    batch = images(tiny_run, 7)[range(7)]
    explanation = EXPLAINERS["contributions"](
        model, batch.images, model.predict(batch.images).argmax(-1)
    )
    expected = difference(curves(model, batch, explanation))
    found = _difference(cast(_Exported, Asked(model)), batch.images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_measures_are_those_of_an_evaluation(tiny_run: Path, graphs: tuple[Path, Path]) -> None:
    data = images(tiny_run)
    found = measure_change(graphs[0], graphs[0], data)
    model = load_model(tiny_run / "model").model
    batch: Batch = data[range(len(data))]
    with torch.no_grad():
        output = model(batch.images)
        targets = output.logits.argmax(-1)
        explanation = EXPLAINERS["contributions"](model, batch.images, targets)
        gain = difference(curves(model, batch, explanation)).mean()
    same = (targets == output.interpreter_logits.argmax(-1)).float().mean()
    right = (targets == batch.labels).float().mean()
    assert found["predictor_accuracy"].before.mean == pytest.approx(float(right))
    assert found["agreement"].before.mean == pytest.approx(float(same))
    assert found["difference"].before.mean == pytest.approx(float(gain), abs=1e-4)
    for change in found.values():
        assert (change.change.mean, change.change.low, change.change.high) == (0, 0, 0)


@pytest.mark.slow
def test_a_change_is_that_of_each_image(tiny_run: Path, graphs: tuple[Path, Path]) -> None:
    found = measure_change(*graphs, images(tiny_run))["difference"]
    assert found.before.mean is not None
    assert found.after.mean is not None
    assert found.change.mean == pytest.approx(found.after.mean - found.before.mean, abs=1e-6)
    assert found.change.mean != 0


def test_matrix_products_alone_become_bytes_by_output_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what onnxruntime advises on its own options is not told on."""
    asked: list[object] = []

    def dynamic(path: Path, written: Path, **options: object) -> None:
        asked.extend([path, options, logging.getLogger().level])
        written.write_bytes(b"bytes")

    before = logging.getLogger().level
    monkeypatch.setattr(onnxruntime.quantization, "quantize_dynamic", dynamic)
    quantise(tmp_path / "a.onnx", tmp_path / "b.onnx")
    options = {
        "op_types_to_quantize": ["MatMul", "Gemm"],
        "per_channel": True,
        "weight_type": onnxruntime.quantization.QuantType.QInt8,
    }
    assert asked == [tmp_path / "a.onnx", options, logging.ERROR]
    assert (tmp_path / "b.onnx").read_bytes() == b"bytes"
    assert logging.getLogger().level == before
