"""The runs of a study: what they share, what is kept of them, what a folder is refused for."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console

from iavit.data.images import Splits
from iavit.errors import UserError
from iavit.evaluate.fairness import Names
from iavit.experiments import runs as study_runs
from iavit.experiments.runs import LastSplits, check_folder, read_predictions, write_predictions
from iavit.experiments.variants import Choices, Planned, plan
from iavit.explain import EXPLAINERS
from tests import report


def planned(variant: str, seed: int = 0) -> Planned:
    choices = Choices("digits", budget="small", seeds=(0, 1))
    return next(
        run for run in plan(choices, {"random": None}) if (run.variant, run.seed) == (variant, seed)
    )


def test_runs_of_the_same_data_share_what_is_loaded() -> None:
    """Another objective or head of the interpreter asks for the same scenes; a mark does not."""
    last = LastSplits()
    first = last.load(planned("plain").config)
    for same in ("authors", "kl_joint_positional", "iavit_faithful"):
        assert last.load(planned(same).config) is first
    for other in (planned("mark_shortcut"), planned("plain", seed=1)):
        assert last.load(other.config) is not first


def test_a_run_of_other_settings_in_the_folder_is_refused_with_the_difference(
    tmp_path: Path,
) -> None:
    run = planned("iavit")
    folder = tmp_path / "runs" / run.name
    folder.mkdir(parents=True)
    choices = Choices("digits", budget="small")
    (folder / "config.yaml").write_text(yaml.safe_dump(run.config.flat()))
    check_folder(choices, [run], tmp_path)
    (folder / "config.yaml").write_text(yaml.safe_dump({**run.config.flat(), "lr": 0.5}))
    with pytest.raises(UserError, match=r"lr 0\.5 -> 0\.002") as refused:
        check_folder(choices, [run], tmp_path)
    assert str(refused.value).startswith(f"{folder}/config.yaml has other settings (")


def test_a_study_of_other_settings_is_refused_and_more_seeds_are_not(tmp_path: Path) -> None:
    before = {
        "study": "digits",
        "settings": "ours",
        "budget": "small",
        "explained_images": 24,
        "predicted_images": 500,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(before))
    check_folder(Choices("digits", budget="small", seeds=(0, 1, 2)), [], tmp_path)
    with pytest.raises(UserError, match=r"\(budget small -> full, explained_images 24 -> 200, "):
        check_folder(Choices("digits"), [], tmp_path)
    (tmp_path / "study.yaml").write_text("[")
    with pytest.raises(UserError, match=r"study\.yaml is damaged; remove it"):
        check_folder(Choices("digits"), [], tmp_path)


@pytest.mark.parametrize("interprets", [True, False])
def test_predictions_are_what_both_branches_say(tmp_path: Path, interprets: bool) -> None:
    run, images = report.tiny_run(tmp_path), report.tiny_images()
    run.saved.model.train()
    groups = torch.arange(len(images)) % 2
    write_predictions(run, replace(images, groups=groups), interprets)
    found = read_predictions(tmp_path)
    batch = images[range(len(images))]
    with torch.no_grad():
        output = run.saved.model.eval()(batch.images)
    assert torch.equal(found["image"], torch.arange(23))
    assert torch.equal(found["label"], batch.labels)
    assert torch.equal(found["predictor"], output.logits.argmax(dim=-1))
    assert torch.equal(found["group"], groups)
    assert ("interpreter" in found) is interprets
    if interprets:
        assert torch.equal(found["interpreter"], output.interpreter_logits.argmax(dim=-1))
        assert not torch.equal(found["interpreter"], found["predictor"])


def test_images_of_no_groups_have_no_column_of_them(tmp_path: Path) -> None:
    run = report.tiny_run(tmp_path)
    write_predictions(run, report.tiny_images(), interprets=False)
    assert set(read_predictions(tmp_path)) == {"image", "label", "predictor"}


def test_a_run_that_fails_is_told_and_the_next_one_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of the user in its own words; anything else with its type, and its traceback."""
    ends: list[Exception] = [UserError("`root`: put it\nthere"), ZeroDivisionError("by 0")]

    def fail(*given: object, **named: object) -> None:
        raise ends[len(begun)]

    begun: list[Planned] = []
    monkeypatch.setattr(study_runs, "train", fail)
    monkeypatch.setattr(study_runs, "load_dataset", lambda config: None)
    monkeypatch.setattr(study_runs._Watch, "done", lambda watch, run, why: begun.append(run))
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=120)
    planned_runs = [planned("plain"), planned("iavit")]
    choices = Choices("digits", budget="small")
    failed = study_runs.carry_out(choices, planned_runs, tmp_path, terminal)
    assert [(end.run, end.reason) for end in failed] == [
        (planned_runs[0], "`root`: put it there"),
        (planned_runs[1], "ZeroDivisionError: by 0"),
    ]
    (left,) = tmp_path.glob("runs/*/failure.txt")
    assert left.parent.name == planned_runs[1].name
    assert left.read_text().endswith("ZeroDivisionError: by 0\n")
    assert "training" in screen.getvalue()


def test_runs_that_are_there_are_passed_over_and_the_time_left_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run costs its steps and sixty; 200 and 100 of them are to be done."""
    first, second, third = planned("plain"), planned("iavit"), planned("no_alignment")
    done = tmp_path / "runs" / first.name
    (done / "model").mkdir(parents=True)
    for name in ("model/config.json", "evaluation.json", "predictions.csv"):
        assert not study_runs.is_done(tmp_path, first)
        (done / name).touch()
    assert study_runs.is_done(tmp_path, first)
    (done / "model" / "config.json").unlink()
    assert not study_runs.is_done(tmp_path, first)
    (done / "model" / "config.json").touch()
    clock = iter([0.0, 0.0, 130.0, 130.0, 160.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    carried: list[object] = []
    monkeypatch.setattr(study_runs, "_carry_out", lambda *given: carried.append(given[1]))
    monkeypatch.setattr(study_runs, "load_dataset", lambda config: "the data")
    screen = io.StringIO()
    choices = Choices("digits", budget="small")
    failed = study_runs.carry_out(
        choices, [first, second, third], tmp_path, Console(file=screen, width=40)
    )
    assert failed == []
    assert carried == [second, third]
    assert screen.getvalue().splitlines() == [
        "1 of 3 runs are there already.",
        f"[1/2] {second.name}: 130 s; about 1 min left",  # 130 s for 260 of 420
        f"[2/2] {third.name}: 30 s; about 0 min left",
    ]
    assert yaml.safe_load((tmp_path / "study.yaml").read_text()) == {
        "study": "digits", "settings": "ours", "budget": "small", "explained_images": 24,
        "predicted_images": 500,
    }  # fmt: skip


def test_the_bar_is_full_when_the_steps_of_all_runs_are_done() -> None:
    """A run costs its steps and sixty: 200 and 100 of them."""
    first, second = planned("iavit"), planned("no_alignment")
    watch = study_runs._Watch(Console(file=io.StringIO()), [first, second])
    (task,) = watch.bar.tasks
    assert (task.total, task.completed) == (420, 0)
    watch.next(first)
    assert task.description == f"run 1 of 2: {first.name}"
    watch.done(first, "")
    assert (task.completed, task.finished) == (260, False)
    watch.next(second)
    watch.done(second, "")
    assert (task.completed, task.finished) == (420, True)


def test_a_run_that_was_begun_is_resumed_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def train(config: Any, folder: Path, **named: Any) -> str:
        assert named.pop("console").quiet
        asked.append((config, folder, named))
        return "trained"

    monkeypatch.setattr(study_runs, "train", train)
    monkeypatch.setattr(study_runs, "_measure", lambda *given: asked.append(given[:4]))
    run, choices, said = planned("plain"), Choices("digits"), list[str]()
    splits: Any = "splits"
    folder = tmp_path / "runs" / run.name
    for begun in (False, True):
        study_runs._carry_out(choices, run, tmp_path, splits, said.append)
        assert asked.pop() == (choices, run, "trained", "splits")
        assert asked.pop() == (run.config, folder, {"resume": begun, "splits": "splits"})
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
    assert said == ["training", "training"]


def test_what_is_measured_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def audit(model: Any, images: Any, explainers: Any, **named: Any) -> str:
        asked.update(named, images=len(images), explainers=explainers)
        named["progress"]("rollout", 0.5)
        return "the evaluation"

    written: list[object] = []
    monkeypatch.setattr(study_runs, "audit", audit)
    monkeypatch.setattr(study_runs, "write_evaluation", lambda *given: written.append(given))
    trained, images = report.tiny_run(tmp_path), report.tiny_images()
    splits = Splits(("a", "b", "c"), images.normalisation, lambda split: images, ("g", "h"), "eye")
    choices = Choices("digits", budget="small")
    run = replace(planned("plain", seed=1), explainers=("random",))
    said: list[str] = []
    monkeypatch.setattr(Choices, "explained", 5)
    monkeypatch.setattr(Choices, "predicted", 7)
    study_runs._measure(choices, run, trained, splits, said.append)
    asked.pop("progress")
    assert asked == {
        "images": 5, "explainers": {"random": EXPLAINERS["random"]}, "dataset": "digits",
        "seed": 1, "names": Names("eye", ("g", "h"), ("a", "b", "c")), "drawn_from": 23,
    }  # fmt: skip
    assert written == [(tmp_path, "the evaluation")]
    assert said == ["predictions", "rollout"]
    found = read_predictions(tmp_path)
    assert len(found["label"]) == 7
    assert "interpreter" not in found  # of a plain one
    assert not trained.saved.model.training
