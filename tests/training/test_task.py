"""What lightning is given: losses to go down on, seeds, names in the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iavit.config import RECIPES, Config
from iavit.model.iavit import IAViT
from iavit.objective.step import TERMS, objective_terms
from iavit.training import task
from iavit.training.run import train
from iavit.training.task import Task, warmup_cosine
from tests.training.runs import rows


def test_progress_is_the_share_of_the_steps_that_are_over(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And 1 in validation, where the loss must not change its meaning on the way."""
    asked: list[tuple[bool, float]] = []

    def noted(model: IAViT, images: Any, labels: Any, config: Any, progress: float) -> Any:
        asked.append((model.training, progress))
        return objective_terms(model, images, labels, config, progress)

    monkeypatch.setattr(task, "objective_terms", noted)
    training = replace(tiny_config.training, steps=4, validate_every=4)
    train(replace(tiny_config, training=training), tmp_path / "run")
    assert [progress for training, progress in asked if training] == [0.0, 0.25, 0.5, 0.75]
    assert {progress for training, progress in asked if not training} == {1.0}


def test_every_term_is_logged_and_validation_has_those_on_whole_images(tiny_run: Path) -> None:
    last = rows(tiny_run)[-1]
    accuracies = {"predictor_accuracy", "interpreter_accuracy"}
    of_training = {f"train/{name}" for name in ("loss", *TERMS, *accuracies)}
    whole = ("loss", "cross_entropy", "simulation", "alignment", *accuracies)
    of_validation = {f"val/{name}" for name in whole}
    assert {name for name, value in last.items() if value} == {
        "step", "lr", *of_training, *of_validation
    }  # fmt: skip
    assert float(last["val/loss"]) == pytest.approx(
        sum(float(last[f"val/{name}"]) for name in ("cross_entropy", "simulation", "alignment")),
        rel=1e-4,
    )


@pytest.mark.parametrize(("recipe", "learns"), [("plain", False), ("paper", True)])
def test_an_interpreter_that_no_term_reads_does_not_learn(recipe: str, learns: bool) -> None:
    model = IAViT.create("vit_digits", 5, 12)
    Task(model, replace(Config(), objective=RECIPES[recipe]), steps=3)
    assert {p.requires_grad for p in model.interpreter.parameters()} == {learns}
    assert all(p.requires_grad for p in model.extractor.parameters())


def test_the_learning_rate_rises_and_falls() -> None:
    factors = [warmup_cosine(step, 100, 0.1) for step in range(101)]
    assert factors[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)
