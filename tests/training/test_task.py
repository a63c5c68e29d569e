"""What lightning is given: losses to go down on, seeds, names in the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import nn

from iavit.config import RECIPES, Config
from iavit.errors import DivergedError
from iavit.model.iavit import IAViT
from iavit.objective.step import TERMS, objective_terms
from iavit.training import task
from iavit.training.run import train
from iavit.training.stages import stages
from iavit.training.task import warmup_cosine
from tests.training.runs import rows


def joint(config: Config) -> Config:
    """With every term there is, in one stage."""
    objective = replace(
        RECIPES["paper"],
        masked_share=0.5,
        effect_weight=4.0,
        effect_attention_weight=3.0,
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
    weights = {
        "cross_entropy": 1,
        "simulation": 1,
        "alignment": 1,
        "effect": 4,
        "effect_attention": 3,
    }
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
    found = [row["val/effect"] for row in rows(tmp_path / "run") if row["val/effect"]]
    assert len(found) == 2
    assert found[0] == found[1]


def test_the_learning_rate_rises_and_falls() -> None:
    factors = [warmup_cosine(step, 100, 0.1) for step in range(101)]
    assert factors[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0)
    assert warmup_cosine(0, 1, 0.0) == 1.0
    assert warmup_cosine(7, 4, 0.0) == pytest.approx(0.0)  # beyond its end


def test_a_batch_is_drawn_by_its_number_in_the_run_and_by_its_process(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the third stretch of three steps of two batches the second, after six steps of a stage."""
    seeds: list[tuple[int, int]] = []
    monkeypatch.setattr(task, "seed", lambda run, number: seeds.append((run, number)))
    training = replace(tiny_config.training, accumulate=2, seed=11)
    (_, second) = stages(tiny_config, 96)
    frozen = SimpleNamespace(extractor=nn.Dropout())
    state: Any = SimpleNamespace(
        config=replace(tiny_config, training=training),
        current_epoch=2,
        stage=second,
        trainer=SimpleNamespace(world_size=4),
        global_rank=3,
        model=frozen,
    )
    nothing: Any = None
    task.Task.on_train_batch_start(state, nothing, 1)
    number = (2 * 3 * 2 + 1) + 6 * 2
    assert seeds == [(11, number * 4 + 3)]
    assert not frozen.extractor.training


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_optimiser_is_the_one_that_is_named_at_the_rate_of_the_stage(
    name: Any, tiny_config: Config
) -> None:
    training = replace(
        tiny_config.training, optimizer=name, momentum=0.75, weight_decay=0.125, warmup=0.5
    )
    config = replace(tiny_config, training=training)
    stage = replace(stages(config, 96)[0], lr=0.25, steps=8)
    made: Any = task.Task(IAViT.create("vit_digits", 3), config, stage).configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    assert type(optimizer) is (torch.optim.SGD if name == "sgd" else torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.125, 0.0]
    assert all(group.get("momentum", 0.75) == 0.75 for group in optimizer.param_groups)
    assert schedule.get_last_lr() == [0.25 / 4] * 2  # the first of four that rise
    assert made["lr_scheduler"]["interval"] == "step"


def test_the_first_step_that_is_no_number_is_remembered(tiny_config: Config) -> None:
    made = task.Task(IAViT.create("vit_digits", 3), tiny_config, stages(tiny_config, 96)[0])
    for step, loss in enumerate((1.0, float("nan"), 2.0, float("inf"))):
        state: Any = SimpleNamespace(global_step=step, first_bad_step=made.first_bad_step)
        task.Task._note_if_not_finite(state, torch.tensor(loss))
        made.first_bad_step = state.first_bad_step
        if step == 0:
            made._stop_if_not_finite()
    with pytest.raises(DivergedError) as stopped:
        made._stop_if_not_finite()
    assert str(stopped.value) == (
        "the loss is not a number since step 2; what was saved before is kept"
    )
    made.first_bad_step = torch.tensor(0)
    with pytest.raises(DivergedError, match="since step 0"):
        made._stop_if_not_finite()


@pytest.mark.parametrize(
    ("recipe", "mixed", "expected"),
    [("faithful", {"mixup": 0.5}, [True, False]), ("faithful", {"cutmix": 0.5}, [True, False]),
     ("faithful", {}, [False, False]), ("paper", {"mixup": 0.5}, [True])],
)  # fmt: skip
def test_images_are_mixed_where_labels_are_learned(
    recipe: str, mixed: dict[str, Any], expected: list[bool], tiny_config: Config
) -> None:
    training = replace(tiny_config.training, **mixed)
    config = replace(tiny_config, objective=RECIPES[recipe], training=training)
    model = IAViT.create("vit_digits", 3, branch_width=16)
    made = [task.Task(model, config, stage) for stage in stages(config, 96)]
    assert [each.mixing is not None for each in made] == expected
