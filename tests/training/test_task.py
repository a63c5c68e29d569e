"""What lightning is given: losses to go down on, seeds, names in the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lightning import Callback, LightningModule, Trainer

from iavit.config import RECIPES, Config
from iavit.model.iavit import IAViT
from iavit.objective.step import TERMS, objective_terms
from iavit.training import task
from iavit.training.run import train
from iavit.training.task import warmup_cosine
from tests.training.runs import rows


def joint(config: Config) -> Config:
    """With every term there is, in one stage."""
    objective = replace(
        RECIPES["paper"],
        masked_share=0.5,
        path_weight=4.0,
        path_attention_weight=3.0,
        explain_from=0.25,
    )
    return replace(config, objective=objective)


class EndsAfter(Callback):
    """Fails where training goes on after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert trainer.global_step < self.steps


def test_progress_is_the_share_of_the_steps_that_are_over(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And 1 in validation, where the loss must not change its meaning on the way."""
    asked: list[tuple[bool, float]] = []

    def noted(model: IAViT, images: Any, labels: Any, config: Any, progress: float = 1.0) -> Any:
        asked.append((model.training, progress))
        return objective_terms(model, images, labels, config, progress)

    monkeypatch.setattr(task, "objective_terms", noted)
    training = replace(tiny_config.training, steps=4, validate_every=4)
    config = replace(joint(tiny_config), training=training)
    train(config, tmp_path / "run", callbacks=[EndsAfter(4)])
    assert [progress for training, progress in asked if training] == [0.0, 0.25, 0.5, 0.75]
    assert {progress for training, progress in asked if not training} == {1.0}


def test_every_term_is_logged_and_validation_has_those_on_whole_images(
    tiny_config: Config, tmp_path: Path
) -> None:
    train(joint(tiny_config), tmp_path / "run")
    final = rows(tmp_path / "run")[-1]
    shares = {"predictor_accuracy", "interpreter_accuracy", "agreement"}
    of_training = {f"train/{name}" for name in ("loss", *TERMS, *shares)}
    weights = {"cross_entropy": 1, "simulation": 1, "alignment": 1, "path": 4, "path_attention": 3}
    of_validation = {f"val/{name}" for name in ("loss", *weights, *shares)}
    assert {name for name, value in final.items() if value} == {
        "step", "lr", *of_training, *of_validation
    }  # fmt: skip
    assert float(final["val/loss"]) == pytest.approx(
        sum(weight * float(final[f"val/{name}"]) for name, weight in weights.items()), rel=1e-4
    )


def test_every_validation_draws_the_same_samples(tiny_config: Config, tmp_path: Path) -> None:
    """Where nothing learns, nothing changes from one validation to the next."""
    training = replace(tiny_config.training, steps=1, interpreter_steps=6, interpreter_lr=1e-30)
    training = replace(training, weight_decay=0.0)
    train(replace(tiny_config, training=training), tmp_path / "run")
    found = [row["val/path"] for row in rows(tmp_path / "run") if row["val/path"]]
    assert len(found) == 2
    assert found[0] == found[1]


def test_the_learning_rate_rises_and_falls() -> None:
    factors = [warmup_cosine(step, 100, 0.1) for step in range(101)]
    assert factors[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)
