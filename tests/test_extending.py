"""One of each thing that CONTRIBUTING.md says how to add, through the public dictionaries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser, Namespace
from torch import Tensor, nn

from iavit import METRICS
from iavit.cli import main
from iavit.commands import COMMANDS
from iavit.commands.command import Command
from iavit.config import Config, DataConfig, ObjectiveConfig
from iavit.data.datasets import DATASETS, Source, load_dataset
from iavit.data.images import InMemory, Request, Splits
from iavit.data.transforms import Normalisation
from iavit.evaluate.metrics import Metric
from iavit.evaluate.subjects import Explained
from iavit.explain import EXPLAINERS
from iavit.objective.alignment import ALIGNMENTS
from iavit.objective.inputs import Inputs
from iavit.objective.step import TERMS, Term, objective_terms
from iavit.types import Explanation
from tests.report import tiny_images, tiny_model


def test_a_data_set(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def load(request: Request) -> Splits:
        size = request.image_size(default=12)
        pixels = torch.zeros(6, 3, size, size, dtype=torch.uint8)
        images = InMemory(pixels, torch.tensor([0, 1] * 3), Normalisation())
        return Splits(("dark", "darker"), images.normalisation, lambda split: images)

    source = Source(load, "6 + 6 + 6", "2", lambda root: "here", "comes with the test", "night")
    monkeypatch.setitem(DATASETS, "night", source)
    splits = load_dataset(Config(data=DataConfig("night")))
    assert splits.classes == ("dark", "darker")
    assert splits.test[[3]].labels.tolist() == [1]
    assert main(["datasets"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "night" in line)
    assert "6 + 6 + 6" in line


def test_an_explainer_and_a_measure(
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both are in the file, in the terminal's table and on the page, under their own headings."""

    def left(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
        columns = torch.arange(images.shape[-1], 0.0, -1.0)
        return Explanation(columns.expand(len(images), *images.shape[-2:]), targets, "left")

    def leftmost(explained: Explained) -> Tensor:
        maps = explained.explanation.maps
        columns = maps.mean(dim=1).argmax(dim=-1)
        return columns / (maps.shape[-1] - 1)

    def right(model: nn.Module, images: Tensor, targets: Tensor) -> Explanation:
        return Explanation(left(model, images, targets).maps.flip(-1), targets, "right")

    monkeypatch.setitem(EXPLAINERS, "left", left)
    monkeypatch.setitem(EXPLAINERS, "right", right)
    monkeypatch.setitem(
        METRICS, "leftmost", Metric(leftmost, "lower", "faithfulness", "leftmost column")
    )
    words = ["--explainers", "left,right", "--images", "9", "--output", str(tmp_path)]
    assert main(["evaluate", str(tiny_run), *words]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["faithfulness"]["left"]["leftmost"]["mean"] == 0.0
    assert found["faithfulness"]["right"]["leftmost"]["mean"] == 1.0
    printed = capsys.readouterr().out
    assert "leftmost column ↓" in printed
    assert "1.000" in printed
    assert main(["report", str(tiny_run), "--evaluation", str(tmp_path)]) == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "leftmost column ↓" in page
    assert "Map of left over test image" in page


def test_an_alignment(monkeypatch: pytest.MonkeyPatch) -> None:
    def total_variation(extractor: Tensor, interpreter: Tensor) -> Tensor:
        return (extractor - interpreter).abs().sum(dim=-1).mean() / 2

    monkeypatch.setitem(ALIGNMENTS, "mse", total_variation)  # a new name is a choice in config.py
    model, batch = tiny_model().model, tiny_images()[range(5)]
    config = ObjectiveConfig(alignment="mse", alignment_weight=1.0, effect_share=0.0)
    terms = objective_terms(model, batch.images, batch.labels, config, 1.0)
    output = model(batch.images)
    expected = (output.extractor_attention - output.interpreter_attention).abs().sum() / 10
    torch.testing.assert_close(terms["alignment"], expected)


def test_a_term_of_the_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    def entropy_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor:
        return torch.distributions.Categorical(logits=inputs.output.logits).entropy().mean()

    model, batch = tiny_model().model, tiny_images()[range(5)]
    config = ObjectiveConfig(masked_share=0.0, effect_share=0.0, explain_from=0.0)
    before = objective_terms(model, batch.images, batch.labels, config, 1.0)
    monkeypatch.setitem(TERMS, "entropy", Term(lambda config: 0.25, entropy_term))
    after = objective_terms(model, batch.images, batch.labels, config, 1.0)
    probabilities = model(batch.images).logits.softmax(dim=-1)
    entropy = -(probabilities * probabilities.log()).sum(dim=-1).mean()
    torch.testing.assert_close(after["entropy"], entropy)
    torch.testing.assert_close(after["loss"], before["loss"] + 0.25 * entropy)


def test_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def add_options(parser: ArgumentParser, given: Sequence[str]) -> None:
        parser.add_argument("--name", type=str, default="you", help="who is greeted")

    def execute(options: Namespace) -> None:
        print(f"good morning, {options.name}")

    monkeypatch.setitem(COMMANDS, "greet", Command("say good morning", add_options, execute))
    assert main(["--help"]) == 0
    assert "greet      say good morning" in capsys.readouterr().out
    assert main(["greet", "--name", "Ada"]) == 0
    assert capsys.readouterr().out == "good morning, Ada\n"
