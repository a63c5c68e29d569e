"""The whole command, with a few variants of a few steps."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console
from torchvision.datasets import CIFAR10, STL10

from iavit.cli import main
from iavit.errors import UserError
from iavit.experiments import paper, variants
from iavit.experiments import runs as study_runs
from iavit.experiments.paper import write_tables
from iavit.experiments.runs import Failed
from iavit.experiments.seeds import Estimate
from iavit.experiments.tables import Kind, Table
from iavit.experiments.variants import Choices, Planned, plan
from iavit.explain import EXPLAINERS as ALL_EXPLAINERS
from iavit.training.run import train
from tests.data import files
from tests.experiments.made import measured

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


def test_figure_ones_statistic_in_a_line() -> None:
    def seed(same: float, kl: float, alike: float | None) -> dict[str, Any]:
        figures = {"agreement": same, "divergence": kl, "correlation": alike}
        return {"images": 1234} | {
            name: {"mean": mean, "low": None, "high": None} for name, mean in figures.items()
        }

    two = [seed(0.75, 0.01234, 0.5), seed(0.5, 0.02, 0.25)]
    assert paper._in_a_line(two) == (
        "over 1,234 test images: same class 62.5 %, divergence 0.0162 nats, correlation of the "
        "maps 0.38"
    )
    assert paper._in_a_line([seed(1.0, 0.5, None)]).endswith(
        "same class 100.0 %, divergence 0.5 nats, "
    )


def test_what_figure_three_shows_of_a_study() -> None:
    """Of variants of the main part whose explainers were all measured."""
    names = ("plain", "iavit", "iavit_settled", "no_alignment")
    done = [measured(name, seed, 0.25 * seed, 9) for name in names for seed in (1, 3)]
    found = paper._differences(done)
    assert list(found) == ["plain ViT: cross-entropy only", "IA-ViT: the paper's three terms"]
    figure = found["IA-ViT: the paper's three terms"]["interpreter"]
    assert figure["mean"] == pytest.approx(0.5)
    assert figure["low"] < 0.25 < 0.75 < figure["high"]  # Student's over two seeds


def test_results_that_are_none_are_refused(tmp_path: Path) -> None:
    for content in (None, "{", "[]", '{"study": "digits"}'):
        if content is not None:
            (tmp_path / "results.json").write_text(content)
        with pytest.raises(
            UserError, match=f"`beside` {tmp_path}: there are no results of a study"
        ):
            paper._read_differences(tmp_path)
    (tmp_path / "results.json").write_text('{"study": "stl10", "differences": {"a": {}}}')
    assert paper._read_differences(tmp_path) == {"stl10": {"a": {}}}


def test_a_table_as_json_has_its_empty_cells() -> None:
    estimate = Estimate(0.5, 0.25, None, 0.125, 3)
    table = Table("t", "T", "C", "f", {}, {"r": {"a": estimate, "b": None}})
    figures = {"mean": 0.5, "low": 0.25, "high": None, "spread": 0.125, "count": 3}
    assert paper._as_json(table) == {"r": {"a": figures, "b": None}}


def test_a_study_of_which_nothing_is_done_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(monkeypatch, "plain", "iavit")
    runs = [run for run in plan(Choices("digits"), {}) if run.variant in ("plain", "iavit")]
    failed = [Failed(run, "odd") for run in runs]
    monkeypatch.setattr(paper, "carry_out", lambda *given: failed)
    screen = io.StringIO()
    with pytest.raises(UserError, match="every run failed; the first: digits-plain-0: odd"):
        paper.reproduce(Choices("digits"), tmp_path, Console(file=screen))
    monkeypatch.setattr(paper, "is_done", lambda folder, run: run.variant == "iavit")
    monkeypatch.setattr(paper, "_read", lambda folder, run: run.name)
    written: list[Any] = []

    def write(choices: Any, runs: Any, done: Any, failed: Any, folder: Path, *rest: Any) -> Path:
        written.append((len(runs), done, len(failed), folder, rest[0]))
        return folder / "index.html"

    monkeypatch.setattr(paper, "_write", write)
    with pytest.raises(UserError) as refused:
        paper.reproduce(Choices("digits"), tmp_path, Console(file=screen))
    assert str(refused.value) == (
        "2 of 2 runs failed (digits-plain-0: odd; digits-iavit-0: odd); "
        f"{tmp_path}/index.html is made of the others: put it right and give the command again"
    )
    assert written == [(2, ["digits-iavit-0"], 2, tmp_path, {})]
    assert screen.getvalue() == "tables and figures\n"
    failed.clear()
    page = paper.reproduce(Choices("digits"), tmp_path, Console(file=screen))
    assert page == tmp_path / "index.html"


def test_predictions_that_are_damaged_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, columns = plan(Choices("digits"), {})[0], "image,label,predictor,interpreter,group"
    folder = tmp_path / "runs" / run.name
    folder.mkdir(parents=True)
    monkeypatch.setattr(paper, "read_evaluation", lambda directory: "the evaluation")
    (folder / "predictions.csv").write_text(f"{columns}\n0,1,x,,\n")
    with pytest.raises(UserError, match=f"{folder}/predictions.csv is damaged; remove it and"):
        paper._read(tmp_path, run)
    (folder / "predictions.csv").write_text(f"{columns}\n0,1,2,,\n")
    read = paper._read(tmp_path, run)
    assert (read.planned, read.evaluation) == (run, "the evaluation")  # type: ignore[comparison-overlap]
    assert read.predictions["predictor"].tolist() == [2]


def test_the_tables_of_a_study_in_their_order() -> None:
    done = [measured(name, 0, 0.25, 9) for name in ("plain", "iavit", "iavit_masked")]
    assert [table.name for table in paper._tables(done, {}, {})] == [
        "accuracy", "ablation", "factors", "terms", "explainers-plain", "explainers-iavit",
        "tokens", "fairness", "explanation-fairness", "marks",
    ]  # fmt: skip
