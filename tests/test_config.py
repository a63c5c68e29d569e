"""Settings that check themselves, recipes, and what earlier versions wrote."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any

import pytest

from iavit.config import (
    DEFAULT_EPOCHS,
    FEWEST_STEPS,
    PRESETS,
    RECIPES,
    Config,
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainingConfig,
    starting_point,
)
from iavit.errors import UserError

ALONE: dict[str, Any] = {"masked_share": 0.0, "masked_weight": 0.5, "effect_share": 0.25}
ALONE |= {"effect_weight": 0.0, "effect_attention_weight": 0.0, "explain_from": 0.0}


def test_recipes_are_what_their_names_say() -> None:
    assert RECIPES.keys() == {"faithful", "paper", "authors", "plain"}
    assert RECIPES["faithful"] == ObjectiveConfig() == Config().objective
    paper: dict[str, Any] = {
        "objective": "paper",
        "interpreter": "joint",
        "simulation_weight": 1.0,
        "alignment_weight": 1.0,
    }
    paper |= {"alignment": "mmd", "temperature": 3.0, "label_smoothing": 0.0}
    paper |= {"teacher_gradient": False, "attention_gradient": False, **ALONE}
    assert asdict(RECIPES["paper"]) == paper
    authors: dict[str, Any] = {"objective": "authors", "alignment": "cross_kernel"}
    authors |= {"teacher_gradient": True, "attention_gradient": True}
    assert asdict(RECIPES["authors"]) == paper | authors
    plain: dict[str, Any] = {"objective": "plain", "interpreter": "none"}
    plain |= {"simulation_weight": 0.0, "alignment_weight": 0.0}
    assert asdict(RECIPES["plain"]) == paper | plain


def test_a_recipe_is_resolved_first_and_single_weights_override_it() -> None:
    config = Config.from_flat({"objective": "paper", "effect_weight": 2.0, "lr": 0.5})
    assert config.objective == replace(RECIPES["paper"], effect_weight=2.0)
    assert config.training == TrainingConfig(lr=0.5)
    assert config.data == DataConfig()
    with pytest.raises(UserError, match="`objective` is 'papers'; it must be one of 'faithful', "):
        Config.from_flat({"objective": "papers"})


@pytest.mark.parametrize("name", PRESETS)
def test_flat_and_back(name: str) -> None:
    assert Config.from_flat(PRESETS[name].flat()) == PRESETS[name]


def test_a_preset_sets_the_rest_and_a_recipe_the_objective() -> None:
    fashion = PRESETS["fashion_mnist"]
    assert fashion.objective == RECIPES["faithful"]
    assert starting_point("fashion_mnist") == fashion
    assert starting_point("fashion_mnist", "faithful") == fashion
    assert starting_point("fashion_mnist", "paper") == replace(fashion, objective=RECIPES["paper"])
    assert starting_point("folder", "plain") == Config(
        data=DataConfig("folder"), objective=RECIPES["plain"]
    )


def test_ones_own_images_start_by_what_there_is_to_start_from() -> None:
    assert starting_point("folder") == Config(data=DataConfig("folder"))
    assert starting_point("folder", weights=True).training.lr == 1e-4
    assert starting_point("folder", weights=True, small=True).model == Config().model
    small = starting_point("folder", small=True)
    assert (small.model.backbone, small.model.img_size) == ("vit_digits", 64)
    assert small.training.lr == 1e-3
    assert starting_point("digits", weights=True, small=True) == starting_point("digits")


def test_what_a_run_goes_by_where_nothing_is_said() -> None:
    assert Config().flat() == {
        "data": "digits", "root": None, "batch_size": 64, "workers": 0, "augment": "none",
        "bad_images": "error", "pixel_range": None, "mean": None, "std": None, "cache": None,
        "shortcut": 0.0, "target_attribute": "Gray_Hair", "sensitive_attribute": "Male",
        "backbone": "vit_small_patch16_224", "img_size": None, "pretrained": False,
        "weights": None, "classifier": None, "interpreter_head": "mean", "branch_width": None,
        "drop_path": 0.0, "objective": "faithful", "interpreter": "after",
        "simulation_weight": 1.0, "temperature": 3.0, "teacher_gradient": False,
        "alignment": "mmd", "alignment_weight": 0.0, "attention_gradient": False,
        "label_smoothing": 0.0, "masked_share": 0.0, "masked_weight": 0.5, "effect_weight": 2.0,
        "effect_attention_weight": 1.0, "effect_share": 0.25, "explain_from": 0.0, "steps": None,
        "interpreter_steps": None, "epochs": None, "optimizer": "adamw", "lr": 0.001,
        "interpreter_lr": 0.002, "weight_decay": 0.05, "momentum": 0.9, "warmup": 0.05,
        "clip": 1.0, "freeze": False, "unfreeze_last": 0, "layer_decay": 1.0, "mixup": 0.0,
        "cutmix": 0.0, "ema": 0.0, "accumulate": 1, "precision": "32", "accelerator": "auto",
        "devices": "1", "strategy": "auto", "validate_every": 250, "log_every": 25, "seed": 0,
    }  # fmt: skip
    assert (DEFAULT_EPOCHS, FEWEST_STEPS) == (10, 500)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("digits", {"batch_size": 48, "backbone": "vit_digits", "img_size": 32, "steps": 4400}),
        ("fashion_mnist", {"backbone": "vit_digits", "img_size": 28, "steps": 8000, "lr": 0.003}),
        (
            "cifar10",
            {"augment": "light", "backbone": "vit_photos", "img_size": 32, "steps": 9000}
            | {"interpreter_steps": 6000},
        ),
    ],
)
def test_what_a_preset_sets(name: str, settings: dict[str, Any]) -> None:
    expected = Config().flat() | {"data": name, "lr": 0.002} | settings
    assert PRESETS[name].flat() == expected
    assert starting_point("folder", preset=name).flat() == expected | {"data": "folder"}


def test_a_preset_that_there_is_not() -> None:
    with pytest.raises(UserError) as refused:
        starting_point("digits", preset="mnist")
    assert str(refused.value) == ("`preset` is 'mnist'; there are digits, fashion_mnist, cifar10")


BESIDE = ModelConfig(classifier="c.pt", img_size=48)
KEPT = TrainingConfig(steps=0)


def test_a_classifier_stays_as_it_is_and_its_answers_are_learned() -> None:
    assert Config(model=BESIDE, training=KEPT).model.classifier == "c.pt"
    for model, objective, training, line in (
        (BESIDE, ObjectiveConfig(), TrainingConfig(), "it stays as it is; set `steps` to 0"),
        (replace(BESIDE, img_size=None), ObjectiveConfig(), KEPT, "say with `img_size` how many"),
        (BESIDE, ObjectiveConfig(interpreter="joint"), KEPT, "its interpreter learns from answers"),
        (BESIDE, ObjectiveConfig(alignment_weight=0.5), KEPT, "its interpreter learns from answer"),
    ):
        with pytest.raises(UserError, match=f"`classifier`: {line}"):
            Config(model=model, objective=objective, training=training)
    Config(objective=ObjectiveConfig(interpreter="joint", alignment_weight=0.5))


@pytest.mark.parametrize(
    ("group", "line"),
    [
        ({"pretrained": True, "weights": "w"}, "`pretrained` and `weights`: give one of the two"),
        ({"classifier": "c", "weights": "w"}, "`classifier` stands for itself; leave `weights`"),
        ({"classifier": "c", "pretrained": True}, "`classifier` stands for itself"),
        ({"steps": 3, "epochs": 1.5}, "`steps` and `epochs`: give one of the two"),
        ({"unfreeze_last": 1}, "`unfreeze_last`: give `freeze` with it"),
    ],
)
def test_settings_that_do_not_go_together(group: dict[str, Any], line: str) -> None:
    kind: Any = TrainingConfig if {"steps", "unfreeze_last"} & group.keys() else ModelConfig
    with pytest.raises(UserError, match=line):
        kind(**group)
    for name, value in group.items():
        if name != "unfreeze_last":
            kind(**{name: value})
    TrainingConfig(freeze=True, unfreeze_last=3)


@pytest.mark.parametrize("kind", [DataConfig, ModelConfig, ObjectiveConfig, TrainingConfig])
def test_settings_are_checked_when_they_are_given_and_do_not_change(kind: Any) -> None:
    name = fields(kind)[0].name
    with pytest.raises(UserError, match=f"`{name}` is 0.5; it must be"):
        kind(**{name: 0.5})
    with pytest.raises(FrozenInstanceError):
        setattr(kind(), name, kind().__dict__[name])
    whole: Any = Config()
    with pytest.raises(FrozenInstanceError):
        whole.data = DataConfig()
