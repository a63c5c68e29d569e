"""`iavit evaluate`: what it writes and prints, and the images that it finds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from iavit import explain
from iavit.cli import main
from iavit.commands import evaluate
from iavit.commands import progress as bars
from iavit.commands.evaluate import evaluate_run
from iavit.config import Config, DataConfig, ModelConfig
from iavit.data import datasets
from iavit.data.datasets import load_dataset
from iavit.data.images import Images
from iavit.data.transforms import Normalisation
from iavit.evaluate import audit as auditing
from iavit.evaluate.evaluation_json import read_evaluation
from iavit.evaluate.fairness import Names
from iavit.evaluate.measurement import Settings
from iavit.evaluate.processes import Processes
from iavit.explain import EXPLAINERS as EVERY
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved
from iavit.report.terminal import evaluation_tables, evaluation_warnings
from iavit.training.directory import Run, load_run
from tests.data.files import folder, save, truncate


def test_a_set_that_moved_and_another_one_are_found_by_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = folder(tmp_path / "first", {"cat": 20, "dog": 20}, (16, 16))
    options = "train --data folder --backbone vit_digits --img-size 16 --batch-size 4 --steps 2"
    run = str(tmp_path / "run")
    assert main([*options.split(), "--root", str(first), "--output", run]) == 0
    moved = first.rename(tmp_path / "moved")
    evaluate = ["evaluate", run, "--explainers", "random", "--coverage", "0"]
    capsys.readouterr()
    assert main(evaluate) == 2
    assert str(first) in capsys.readouterr().err
    assert main([*evaluate, "--root", str(moved)]) == 0
    assert "As a page" not in capsys.readouterr().out  # the run's own shows it
    counted = json.loads((tmp_path / "run" / "evaluation.json").read_text())["images"]
    other = folder(tmp_path / "other", {"cat": 40, "dog": 40}, (16, 16))
    assert main([*evaluate, "--root", str(other)]) == 0
    again = json.loads((tmp_path / "run" / "evaluation.json").read_text())["images"]
    assert (counted, again) == (again // 2, 2 * counted)
    birds = folder(tmp_path / "birds", {"owl": 20, "tit": 20}, (16, 16))
    capsys.readouterr()
    assert main([*evaluate, "--root", str(birds)]) == 2
    assert "--root: the classes there are owl, tit..., and the model's cat, dog" in (
        capsys.readouterr().err
    )


EXPLAINERS = [name for name in explain.EXPLAINERS if name not in explain.SLOW]


@pytest.mark.slow
def test_evaluate_writes_what_the_contract_says(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--images", "6", "--explainers", "quick"]
    assert main(["evaluate", str(tiny_run), *few, "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["dataset"] == "digits"
    assert found["split"] == "test"
    assert found["images"] == 6
    assert set(found["provenance"]) == {"version", "commit", "seed", "torch", "device", "seconds"}
    figure = {"mean", "low", "high"}
    for key in ("predictor_accuracy", "interpreter_accuracy", "agreement"):
        assert set(found["prediction"][key]) == figure
    assert 0 <= found["prediction"]["predictor_ece"] <= 1
    assert list(found["faithfulness"]) == EXPLAINERS
    for of in found["faithfulness"].values():
        for metric in ("deletion", "insertion", "difference"):
            assert set(of[metric]) == figure
            assert of[metric]["low"] <= of[metric]["mean"] <= of[metric]["high"]
        difference = of["insertion"]["mean"] - of["deletion"]["mean"]
        assert of["difference"]["mean"] == pytest.approx(difference, abs=1e-6)
        assert of["seconds_per_image"] > 0
        bands = {f"{name}_{end}" for name in ("insertion", "deletion") for end in ("low", "high")}
        assert bands < set(of["curves"])
        assert len({len(values) for values in of["curves"].values()}) == 1
        assert "substrates" not in of  # of one alone, they are the figures above
    assert list(found["localisation"]) == EXPLAINERS
    for of in found["localisation"].values():
        assert set(of) == {"pointing_game", "evidence_mass", "relevance_rank_accuracy"}
    pairs = {(pair["metric"], pair["a"], pair["b"]) for pair in found["comparisons"]}
    assert ("difference", "contributions", "rollout") in pairs
    keys = {"metric", "a", "b", *figure, "p", "adjusted_p", "inside_noise"}
    assert all(set(pair) == keys for pair in found["comparisons"])
    told = capsys.readouterr().out
    assert "rollout" in told
    assert f"iavit report {tiny_run} --evaluation {tmp_path}" in told
    noise = [
        pair["b"]
        for pair in found["comparisons"]
        if pair["metric"] == "difference" and pair["inside_noise"]
    ]
    assert noise  # of a model that learned nothing
    (line,) = (line for line in told.splitlines() if "noise" in line)
    assert all(name in line for name in noise)


def test_evaluate_narrows_to_the_explainers_named(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--explainers", "random,rollout", "--images", "20"]
    assert main(["evaluate", str(tiny_run), *chosen, "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(found["faithfulness"]) == ["random", "rollout"]
    sufficient = found["sufficient"]
    assert (sufficient["coverage_asked"], sufficient["calibrated_on"]) == (0.9, 20)
    for name in ("random", "rollout"):
        share = sufficient[name]["share_of_patches"]["mean"]
        assert share == sufficient[name]["patches"] / 64
        assert 0 <= sufficient[name]["coverage"]["low"] <= 1
    read = read_evaluation(tmp_path).sufficient
    assert read is not None
    assert read.explainers["rollout"].patches == sufficient["rollout"]["patches"]
    printed = capsys.readouterr().out
    assert "first patches that keep the answer in 90 %" in printed
    assert f"As a page: iavit report {tiny_run} --evaluation {tmp_path}\n" in printed


def test_evaluate_measures_what_it_is_asked_for(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {
        "--explainers": "rollout",
        "--images": "5",
        "--metrics": "infidelity,max_sensitivity",
        "--substrates": "blur,drop",
        "--points": "4",
        "--copies": "7",
        "--target": "true",
        "--score": "logit",
        "--protocol": "chefer,torchcam",
    }
    words = [word for option in asked.items() for word in option]
    assert main(["evaluate", str(tiny_run), *words, "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert (found["explained_class"], found["score"]) == ("true", "logit")
    of = found["faithfulness"]["rollout"]
    assert {"infidelity", "max_sensitivity"} < set(of)
    assert "randomisation" not in of
    assert list(of["substrates"]) == ["blur", "drop"]
    assert len(of["curves"]["fractions"]) == 4
    assert {name: set(by["rollout"]) for name, by in found["protocols"].items()} == {
        "chefer": {"positive", "negative"},
        "torchcam": {"deletion", "insertion"},
    }
    told = capsys.readouterr().out
    for word in ("infidelity", "over substrates", "protocol chefer"):
        assert word in told


def test_two_evaluations_say_the_same(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--images", "6", "--explainers", "contributions,random"]
    said = []
    for name in ("a", "b"):
        folder = str(tmp_path / name)
        assert main(["evaluate", str(tiny_run), *few, "--output", folder]) == 0
        found = json.loads((tmp_path / name / "evaluation.json").read_text())
        del found["provenance"]
        for of in found["faithfulness"].values():
            del of["seconds_per_image"]
        said.append(found)
    assert said[0] == said[1]


def test_test_images_that_cannot_be_read_are_listed_and_not_counted(tmp_path: Path) -> None:
    folder(tmp_path / "set" / "train", {"cat": 20, "dog": 20}, (16, 16))
    folder(tmp_path / "set" / "test", {"cat": 6, "dog": 6}, (16, 16))
    options = "train --data folder --backbone vit_digits --img-size 16 --batch-size 4 --steps 2"
    run, root = tmp_path / "run", str(tmp_path / "set")
    words = [*options.split(), "--bad-images", "skip", "--root", root, "--output", str(run)]
    assert main(words) == 0
    assert not (run / "bad_images.txt").exists()
    damaged = [truncate(tmp_path / "set" / "test" / name) for name in ("cat/1.png", "dog/4.png")]
    assert main(["evaluate", str(run), "--explainers", "random", "--coverage", "0"]) == 0
    assert (run / "bad_images.txt").read_text().splitlines() == list(map(str, damaged))
    assert json.loads((run / "evaluation.json").read_text())["images"] == 10


@pytest.mark.parametrize("column", ["group", "camera"])
def test_a_table_without_groups_says_which_column_would_name_them(
    column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{number}.png,{number % 2},{number // 2 % 2}" for number in range(40)]
    for number in range(40):
        save(tmp_path / f"{number}.png", size=(8, 8), grain=number + 1)
    table = tmp_path / "set.csv"
    table.write_text("\n".join([f"image,label,{column}", *rows]))
    config = Config(DataConfig("table", str(table)), ModelConfig("vit_digits", img_size=8))
    model = IAViT.create("vit_digits", 2, 8).eval()
    run = Run(tmp_path, config, Saved(model, ("0", "1"), Normalisation()))
    evaluate_run(run, {"random": EVERY["random"]}, Settings(), tmp_path / "out", coverage=0)
    printed = capsys.readouterr().out
    line = f"No groups are compared: {table} has no column 'group'; add one."
    assert (line in printed) is (column != "group")
    found = read_evaluation(tmp_path / "out")
    assert (found.fairness is not None) is (column == "group")


def test_the_audit_is_asked_for_what_the_options_say(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    alone = Processes()
    shared: list[tuple[str, ...]] = []

    def share(*words: str) -> Processes | None:
        shared.append(words)
        return alone if words[0] == "3" else None

    monkeypatch.setattr(
        evaluate, "evaluate_run", lambda *given, **named: asked.append((given, named))
    )
    monkeypatch.setattr(evaluate, "share_work", share)
    again = "give the same command again: what is done is kept"
    assert main(["evaluate", str(tiny_run), "--devices", "2", "--device", "cpu"]) == 0
    assert (shared, asked) == ([("2", "cpu", again)], [])  # others that it started carry it out
    words = (
        "--devices 3 --explainers random,rollout --images 7 --root there --metrics road,infidelity "
        "--target true --score logit --substrates mean,blur --points 5 --copies 11 "
        "--protocol chefer --coverage 0.75 --output"
    )
    assert main(["evaluate", str(tiny_run), *words.split(), str(tmp_path)]) == 0
    for explainers in ("all", "quick", "rise"):
        few = ["--devices", "3", "--explainers", explainers, "--coverage", "0"]
        assert main(["evaluate", str(tiny_run), *few]) == 0
    (run, explainers, settings, folder, count), named = asked[0]
    assert (run.folder, run.config.data.root) == (tiny_run, "there")
    assert explainers == {name: EVERY[name] for name in ("random", "rollout")}
    assert settings == Settings(
        ("road", "infidelity"), "true", "logit", ("mean", "blur"), 5, 11, ("chefer",)
    )
    assert (folder, count) == (tmp_path, 7)
    assert named == {"leave_out": False, "coverage": 0.75, "processes": alone}
    assert [named["leave_out"] for _, named in asked[1:]] == [True, True, False]
    (run, explainers, settings, folder, count), named = asked[1]
    assert run.config == load_run(tiny_run).config
    assert (explainers, settings, folder, count) == (EVERY, Settings(), tiny_run, None)
    assert named["coverage"] == 0


def test_a_page_is_offered_only_of_figures_that_lie_elsewhere(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "evaluate_run", lambda *given, **named: None)
    monkeypatch.chdir(tiny_run.parent)
    for output in ([], ["--output", str(tiny_run)], ["--output", "there"]):
        assert main(["evaluate", tiny_run.name, *output]) == 0
    line = f"As a page: iavit report {tiny_run.name} --evaluation there\n"
    assert capsys.readouterr().out == line


@pytest.mark.parametrize("target", ["predicted", "true"])
def test_the_class_that_is_explained_is_the_one_asked_for(
    target: str, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Settings] = []
    monkeypatch.setattr(evaluate, "evaluate_run", lambda *given, **named: asked.append(given[2]))
    assert main(["evaluate", str(tiny_run), "--target", target]) == 0
    assert [settings.target for settings in asked] == [target]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--images 0", "--images is 0; it must be at least 1"),
        ("--coverage 1", "--coverage is 1.0; give a share"),
        ("--coverage -0.5", "--coverage is -0.5; give a share"),
    ],
)
def test_what_cannot_be_measured_is_told_before_a_run_is_read(
    options: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path / "none"), *options.split()]) == 2
    assert capsys.readouterr().err.startswith(f"iavit: {line}")


@pytest.mark.parametrize(
    ("count", "coverage", "promised"), [(1, 0.5, True), (None, 0.98, True), (3, 0.99, False)]
)
def test_an_audit_knows_the_run_and_what_is_promised_of_it(
    count: int | None,
    coverage: float,
    promised: bool,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """60 validation images are enough for a coverage of 0.98, and for no more; 59 are of test."""
    asked: dict[str, Any] = {}

    def stop(model: Any, images: Images, explainers: Any, **named: Any) -> None:
        asked.update(named, model=model, images=images, explainers=explainers)
        raise KeyboardInterrupt

    run = load_run(tiny_run)
    splits = load_dataset(run.config)
    fewer = splits.test.chosen(torch.arange(59))
    splits = replace(splits, read={"val": splits.val, "test": fewer}.__getitem__)
    monkeypatch.setattr(datasets, "load_dataset", lambda config: splits)
    monkeypatch.setattr(auditing, "audit", stop)
    settings, processes = Settings(points=5), Processes(2, 4)
    shown: list[bool] = []

    def progress(wanted: bool) -> Any:
        shown.append(wanted)
        return bars.progress(wanted)

    monkeypatch.setattr(evaluate, "progress", progress)
    for shared in (processes, None):
        with pytest.raises(KeyboardInterrupt):
            evaluate_run(
                run, {"random": EVERY["random"]}, settings, tmp_path / "out", count,
                leave_out=True, coverage=coverage, processes=shared,
            )  # fmt: skip
    assert shown == [False, True]
    assert asked["model"] is run.saved.model
    assert len(asked["images"]) == (count or 59)
    assert asked["explainers"] == {"random": EVERY["random"]}
    assert (asked["dataset"], asked["seed"], asked["drawn_from"]) == ("digits", 0, 59)
    assert (asked["settings"], asked["leave_out"], asked["processes"]) == (settings, True, None)
    assert asked["names"] == Names(splits.attribute, splits.groups, splits.classes)
    assert asked["folder"] == tmp_path / "out"
    assert (asked["promise"] is not None) is promised
    if promised:
        assert asked["promise"].coverage == coverage
        assert torch.equal(asked["promise"].calibration[[3]].images, splits.val[[3]].images)


def test_what_is_said_after_the_tables(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = load_run(tiny_run)
    few = {"random": EVERY["random"], "rollout": EVERY["rollout"]}
    evaluate_run(run, few, Settings(points=3), tmp_path, 4, coverage=0.99)
    printed = capsys.readouterr().out
    assert printed.startswith(
        "Patches that suffice are left out: 60 validation images cannot promise a coverage of "
        "0.99.\n"
    )
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())
    found = read_evaluation(tmp_path)
    for line in evaluation_warnings(found):
        assert f"\n{line}\n" in printed
    assert [table.title for table in evaluation_tables(found) if str(table.title) in printed]
    assert "No groups are compared" not in printed
