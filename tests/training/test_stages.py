"""The predictor of the default recipe is the plain ViT, bit for bit, whatever else is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from iavit.config import RECIPES, Config
from iavit.model.iavit import IAViT
from iavit.training.run import train
from iavit.training.stages import (
    Stage,
    choose_what_learns,
    labels_only,
    predictor_steps,
    stages,
)
from tests.training.runs import same, stopped_in_step_five, weights


def predictor(run: Path) -> dict[str, Tensor]:
    return {name: value for name, value in weights(run).items() if name.startswith("extractor.")}


def plain(config: Config) -> Config:
    return replace(config, objective=RECIPES["plain"])


def test_with_an_interpreter_and_without_the_predictor_is_the_same(
    tiny_run: Path, tiny_config: Config, tmp_path: Path
) -> None:
    train(plain(tiny_config), tmp_path / "plain")
    assert same(predictor(tiny_run), predictor(tmp_path / "plain"))
    explained, unexplained = weights(tiny_run), weights(tmp_path / "plain")
    assert any(name.startswith("branch.") for name in explained)
    assert not any(name.startswith("branch.") for name in unexplained)


@pytest.mark.parametrize(
    "changes",
    [{"accumulate": 2}, {"mixup": 0.4, "cutmix": 0.5}, {"ema": 0.5}, {"clip": 0.01}],
    ids=lambda changes: next(iter(changes)),
)
def test_so_it_is_however_the_predictor_is_trained(
    tiny_config: Config, tmp_path: Path, changes: dict[str, Any]
) -> None:
    training = replace(tiny_config.training, steps=3, interpreter_steps=2, **changes)
    model = replace(tiny_config.model, drop_path=0.3)
    config = replace(tiny_config, training=training, model=model)
    train(config, tmp_path / "explained")
    train(plain(config), tmp_path / "plain")
    assert same(predictor(tmp_path / "explained"), predictor(tmp_path / "plain"))


def test_so_it_is_after_a_stop_in_the_middle(
    tiny_run: Path, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_in_step_five(plain(tiny_config), tmp_path / "plain", monkeypatch)
    train(plain(tiny_config), tmp_path / "plain", resume=True)
    assert same(predictor(tiny_run), predictor(tmp_path / "plain"))


def test_a_stop_while_the_interpreter_learns_loses_nothing(
    tiny_run: Path, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iavit.training.task import Task

    whole = Task.training_step

    def until_the_interpreters_fifth(self: Task, batch: Any, batch_idx: int) -> Tensor:
        if self.stage.learns == "interpreter" and self.global_step == 4:
            raise RuntimeError("power cut")
        return whole(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "training_step", until_the_interpreters_fifth)
        with pytest.raises(RuntimeError, match="power cut"):
            train(tiny_config, tmp_path / "stopped")
    train(tiny_config, tmp_path / "stopped", resume=True)
    assert same(weights(tiny_run), weights(tmp_path / "stopped"))


def test_the_stages_of_each_recipe(tiny_config: Config) -> None:
    planned = {
        name: [
            (stage.learns, stage.steps, stage.first_step)
            for stage in stages(replace(tiny_config, objective=recipe), 96)
        ]
        for name, recipe in RECIPES.items()
    }
    assert planned == {
        "faithful": [("predictor", 6, 0), ("interpreter", 6, 6)],
        "paper": [("both", 6, 0)],
        "authors": [("both", 6, 0)],
        "plain": [("predictor", 6, 0)],
    }


def test_a_predictor_that_is_kept_has_no_stage(tiny_config: Config) -> None:
    training = replace(tiny_config.training, steps=0, interpreter_steps=4, interpreter_lr=0.5)
    (stage,) = stages(replace(tiny_config, training=training), 96)
    assert (stage.learns, stage.steps, stage.first_step, stage.lr) == ("interpreter", 4, 0, 0.5)


def test_each_stage_moves_its_own_parts(tiny_config: Config) -> None:
    model = IAViT.create("vit_digits", 10, branch_width=32)
    expected = ({"extractor"}, {"branch", "interpreter"})
    for stage, parts in zip(stages(tiny_config, 96), expected, strict=True):
        choose_what_learns(model, stage)
        learning = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
        assert learning == parts


def test_the_interpreter_is_trained_on_the_finished_predictors_answers(tiny_run: Path) -> None:
    """Its batch statistics stand still, too."""
    path = tiny_run / "checkpoints" / "interpreter" / "last.ckpt"
    state = torch.load(path, weights_only=True)["state_dict"]
    kept = torch.load(tiny_run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    names = [name for name in kept if name.startswith("model.extractor.")]
    assert any("running_mean" in name for name in names)
    assert all(torch.equal(state[name], kept[name]) for name in names)


def test_steps_of_a_run(tiny_config: Config) -> None:
    assert predictor_steps(tiny_config, 96) == 6
    epochs = replace(tiny_config.training, steps=None, epochs=2.5, accumulate=2)
    assert predictor_steps(replace(tiny_config, training=epochs), 97) == 8  # of 3 a pass


@pytest.mark.parametrize(("images", "expected"), [(3, 500), (800, 500), (1600, 1000)])
def test_a_length_that_is_not_named_is_ten_passes_and_500_steps_at_least(
    tiny_config: Config, images: int, expected: int
) -> None:
    assert tiny_config.data.batch_size == 16
    unnamed = replace(tiny_config.training, steps=None)
    assert predictor_steps(replace(tiny_config, training=unnamed), images) == expected


def test_what_each_stage_goes_by(tiny_config: Config) -> None:
    training = replace(tiny_config.training, lr=0.5, interpreter_lr=0.25, interpreter_steps=4)
    config = replace(tiny_config, training=training)
    first, second = stages(config, 96)
    alone = replace(
        config.objective,
        simulation_weight=0.0,
        alignment_weight=0.0,
        effect_weight=0.0,
        effect_attention_weight=0.0,
    )
    assert first == Stage("predictor", alone, 6, 0, 0.5, "checkpoints", "val/cross_entropy")
    folder = "checkpoints/interpreter"
    assert second == Stage("interpreter", config.objective, 4, 6, 0.25, folder, "val/loss")
    assert (first.needs_labels, second.needs_labels) == (True, False)
    (joint,) = stages(replace(config, objective=RECIPES["paper"]), 96)
    assert joint == Stage("both", RECIPES["paper"], 6, 0, 0.5, "checkpoints", "val/cross_entropy")
    assert joint.needs_labels


def test_labels_alone_leave_out_every_term_of_the_interpreter() -> None:
    every = replace(
        RECIPES["paper"], masked_share=0.5, effect_weight=3.0, effect_attention_weight=4.0,
        label_smoothing=0.125,
    )  # fmt: skip
    found = labels_only(every)
    assert found.simulation_weight == found.alignment_weight == 0.0
    assert found.effect_weight == found.effect_attention_weight == 0.0
    assert (found.masked_share, found.label_smoothing) == (0.5, 0.125)
