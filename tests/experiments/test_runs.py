"""The runs of a study: what they share, what is kept of them, what a folder is refused for."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from rich.console import Console

from iavit.errors import UserError
from iavit.experiments import runs as study_runs
from iavit.experiments.runs import LastSplits, check_folder, read_predictions, write_predictions
from iavit.experiments.variants import Choices, Planned, plan
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
    groups = torch.arange(len(images)) % 2
    write_predictions(run, replace(images, groups=groups), interprets)
    found = read_predictions(tmp_path)
    batch = images[range(len(images))]
    with torch.no_grad():
        output = run.saved.model(batch.images)
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
