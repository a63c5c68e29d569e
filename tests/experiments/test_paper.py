"""The whole command, with a few variants of a few steps."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from torchvision.datasets import CIFAR10, STL10

from iavit.cli import main
from iavit.experiments import runs as study_runs
from iavit.experiments import variants
from iavit.experiments.paper import write_tables
from iavit.experiments.seeds import Estimate
from iavit.experiments.tables import Kind, Table
from iavit.experiments.variants import Choices, Planned, plan
from iavit.explain import EXPLAINERS as ALL_EXPLAINERS
from iavit.training.run import train
from tests.data import files

EXPLAINERS = ("interpreter", "contributions", "rollout", "random")
COMMON = {
    "accuracy",
    "ablation",
    "terms",
    "explainers-plain",
    "explainers-iavit-faithful",
    "tokens",
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps, few variants, four explainers, seven images explained."""
    monkeypatch.setattr(variants, "SMALL_STEPS", dict.fromkeys(("main", "ablation", "mark"), 3))
    few = {name: ALL_EXPLAINERS[name] for name in EXPLAINERS}
    monkeypatch.setattr("iavit.experiments.paper.EXPLAINERS", few)
    monkeypatch.setattr(Choices, "explained", 7)
    monkeypatch.setattr("iavit.evaluate.statistics.RESAMPLES", 50)
    monkeypatch.setattr("iavit.evaluate.confusion.RESAMPLES", 50)


def keep(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Plan only these variants' runs."""

    def few(choices: Choices, explainers: Mapping[str, object]) -> list[Planned]:
        return [run for run in plan(choices, explainers) if run.variant in names]

    monkeypatch.setattr("iavit.experiments.paper.plan", few)


def reproduce(name: str, folder: Path, *more: str) -> int:
    given = ["reproduce", name, "--output", str(folder), "--budget", "small", *more]
    return main(given)


def tables(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in (folder / "tables").glob("*.md")}


def width(path: Path) -> int:
    with Image.open(path) as picture:
        return picture.width


def check_whole(folder: Path, expected: set[str]) -> dict[str, Any]:
    """All that a study leaves is there, and holds together."""
    found = tables(folder)
    assert expected <= set(found)
    for name in found:
        with (folder / "tables" / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows or "| – |" in found[name], name
        assert all(np.isfinite(float(row["mean"])) for row in rows)
    for number in (1, 3, 4):
        figure = folder / "figures" / f"figure-{number}"
        assert width(figure.with_suffix(".png")) > 300
        assert figure.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    page = (folder / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page.split("</style>")[1]
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    assert all(run["done"] for run in results["runs"].values())
    assert set(results["tables"]) == set(found)
    return results


def cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = {f"data_batch_{number}": 20 for number in range(1, 6)}
    files.cifar10(root, {**batches, "test_batch": 11})
    monkeypatch.setattr(CIFAR10, "train_list", [[name, None] for name in batches])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": None})


def stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.stl10(root, {"train": 40, "test": 11, "unlabeled": 1})
    (root / "stl10_binary" / "fold_indices.txt").write_text("\n".join(["0 1 2"] * 10))
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(STL10, part, [[name, None] for name, _ in getattr(STL10, part)])


def celeba(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        (f"{n:06}.jpg", part, {"Gray_Hair": 1 - 2 * (n % 2), "Male": 1 - 2 * (n // 2 % 2)})
        for n, part in enumerate([0] * 24 + [1] * 8 + [2] * 12)
    ]
    files.celeba(root, rows)


def dogs_vs_cats(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        for pet in ("cat", "dog"):
            files.save(root / "train" / f"{pet}.{number}.jpg", 10 * number, (40, 30))


@pytest.mark.slow
@pytest.mark.parametrize("make", [cifar10, stl10, celeba, dogs_vs_cats])
def test_photographs_in_their_real_formats_to_the_last_table(
    make: Callable[[Path, pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep(monkeypatch, "plain", "iavit_faithful", "mmd_detached_mean", "kl_detached_mean")
    make(tmp_path / "data", monkeypatch)
    folder, name = tmp_path / "study", make.__name__
    assert reproduce(name, folder, "--root", str(tmp_path / "data"), "--settings", "authors") == 0
    grouped = {"fairness", "explanation-fairness"} if name == "celeba" else set()
    results = check_whole(folder, COMMON | {"factors"} | grouped)
    run = folder / "runs" / f"{name}-iavit_faithful-0"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["optimizer"] == "sgd"
    if name == "celeba":
        assert "notebook's “DP”" in tables(folder)["fairness"]
        assert set(results["fairness"]["celeba-iavit_faithful-0"]["by_group"]) == {
            "not Male",
            "Male",
        }
        evaluation = json.loads((run / "evaluation.json").read_text())
        assert evaluation["fairness"]["attribute"] == "Male"


@pytest.mark.slow
def test_digits_with_marks_then_nothing_again_then_another_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = ("plain", "plain_masked", "iavit_faithful", "mmd_detached_mean", "mark_shortcut")
    keep(monkeypatch, *kept)
    folder = tmp_path / "study"
    assert reproduce("digits", folder) == 0
    check_whole(folder, COMMON | {"marks", "fairness"})
    assert "mark colour" in tables(folder)["fairness"]
    assert "say" in tables(folder)["marks"]
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*.csv")}
    assert reproduce("digits", folder, "--seeds", "0,2") == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    results = check_whole(folder, COMMON)
    assert len(results["runs"]) == 2 * len(kept)
    assert " ± " in tables(folder)["accuracy"]
    capsys.readouterr()
    assert reproduce("digits", folder, "--settings", "authors") == 2
    told = capsys.readouterr().err
    assert "settings ours -> authors" in told
    assert told.count("\n") == 1


@pytest.mark.slow
def test_a_run_that_fails_is_named_and_the_others_tables_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(monkeypatch, "plain", "no_alignment", "mmd_detached_mean", "kl_detached_mean")

    def stumbling(config: Any, folder: Path, **more: Any) -> Any:
        if folder.name == "digits-no_alignment-0":
            raise RuntimeError("out of\nmemory")
        return train(config, folder, **more)

    with monkeypatch.context() as patch:
        patch.setattr(study_runs, "train", stumbling)
        assert reproduce("digits", tmp_path) == 2
    told = capsys.readouterr().err
    assert "1 of 4 runs failed" in told
    assert "digits-no_alignment-0: RuntimeError: out of memory" in told
    assert told.count("\n") == 1
    assert "RuntimeError" in (tmp_path / "runs/digits-no_alignment-0/failure.txt").read_text()
    assert "without alignment" not in tables(tmp_path)["ablation"]
    assert "mmd, detached" in tables(tmp_path)["ablation"]
    assert "digits-no_alignment-0" in (tmp_path / "index.html").read_text()
    shutil.rmtree(tmp_path / "runs" / "digits-no_alignment-0")
    other = tmp_path / "runs" / "digits-kl_detached_mean-0"  # trained, but not measured
    (other / "evaluation.json").unlink()
    weights = (other / "model" / "model.safetensors").stat().st_mtime_ns
    assert reproduce("digits", tmp_path) == 0
    assert (other / "evaluation.json").is_file()
    assert (other / "model" / "model.safetensors").stat().st_mtime_ns == weights
    assert "without alignment" in tables(tmp_path)["ablation"]


@pytest.mark.slow
def test_figure_three_shows_another_study_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(monkeypatch, "plain")
    other = tmp_path / "other"
    other.mkdir()
    figure = {"mean": 0.4, "low": 0.3, "high": 0.5}
    results = {"study": "stl10", "differences": {"plain ViT: cross-entropy only": {"rise": figure}}}
    (other / "results.json").write_text(json.dumps(results))
    assert reproduce("digits", tmp_path / "alone") == 0
    narrow = width(tmp_path / "alone/figures/figure-3.png")
    assert reproduce("digits", tmp_path / "alone", "--beside", str(other)) == 0
    assert width(tmp_path / "alone/figures/figure-3.png") > narrow
    capsys.readouterr()
    assert reproduce("digits", tmp_path / "alone", "--beside", str(tmp_path)) == 2
    assert "--beside" in capsys.readouterr().err


def test_tables_are_written_to_be_read_and_to_be_computed_with(tmp_path: Path) -> None:
    columns: dict[str, tuple[str, Kind]] = {
        "accuracy": ("right", "percent"),
        "gap": ("gap", "number"),
    }
    rows = {"a": {"accuracy": Estimate(0.961, 0.95, 0.97, None, 1), "gap": None}}
    write_tables(
        [Table("t", "A title", "What it is.", "model", columns, rows)], tmp_path / "tables"
    )
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == ["t.csv", "t.md"]
    assert (tmp_path / "tables" / "t.md").read_text() == (
        "## A title\n\nWhat it is.\n\n| model | right | gap |\n| --- | --- | --- |\n"
        "| a | 96.1 [95.0, 97.0] % | – |\n"
    )
    assert (tmp_path / "tables" / "t.csv").read_text() == (
        "model,measure,mean,low,high,spread,count\na,accuracy,0.961,0.95,0.97,,1\n"
    )
