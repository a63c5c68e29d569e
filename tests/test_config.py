"""Settings that check themselves, recipes, and what earlier versions wrote."""

from __future__ import annotations

import math
from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from iavit.config import (
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

TRAINING, DATA, MODEL, OBJECTIVE = TrainingConfig, DataConfig, ModelConfig, ObjectiveConfig
ALONE: dict[str, Any] = {"masked_share": 0.0, "masked_weight": 0.5, "path_share": 0.25}
ALONE |= {"path_weight": 0.0, "path_attention_weight": 0.0, "explain_from": 0.0}


@pytest.mark.parametrize(
    ("group", "values", "message"),
    [
        (TRAINING, {"steps": -1}, "`steps` is -1; it must be at least 0"),
        (TRAINING, {"lr": -1.0}, "`lr` is -1.0; it must be above 0"),
        (TRAINING, {"lr": math.nan}, "`lr` is nan; it must be a number"),
        (TRAINING, {"lr": math.inf}, "`lr` is inf; it must be a number"),
        (TRAINING, {"lr": "fast"}, "`lr` is 'fast'; it must be a number"),
        (TRAINING, {"lr": True}, "`lr` is True; it must be a number"),
        (TRAINING, {"seed": 1.5}, "`seed` is 1.5; it must be a whole number"),
        (TRAINING, {"steps": "many"}, "`steps` is 'many'; it must be a whole number or nothing"),
        (TRAINING, {"freeze": 1}, "`freeze` is 1; it must be true or false"),
        (TRAINING, {"precision": 32}, "`precision` is 32; it must be one of '32', 'bf16', '16'"),
        (TRAINING, {"devices": None}, "`devices` is None; it must be text"),
        (TRAINING, {"epochs": 0.0}, "`epochs` is 0.0; it must be above 0"),
        (TRAINING, {"ema": 1.0}, "`ema` is 1.0; it must be at least 0 and below 1"),
        (TRAINING, {"layer_decay": 0.0}, "`layer_decay` is 0.0; it must be above 0 and at most 1"),
        (TRAINING, {"mixup": -1.0}, "`mixup` is -1.0; it must be at least 0"),
        (TRAINING, {"steps": 3, "epochs": 1.0}, "`steps` and `epochs`: give one of the two"),
        (TRAINING, {"unfreeze_last": 1}, "`unfreeze_last`: give `freeze` with it"),
        (DATA, {"batch_size": 0}, "`batch_size` is 0; it must be at least 1"),
        (DATA, {"workers": -1}, "`workers` is -1; it must be from 0 to 512"),
        (DATA, {"shortcut": 1.5}, "`shortcut` is 1.5; it must be from 0 to 1"),
        (MODEL, {"drop_path": -0.1}, "`drop_path` is -0.1; it must be at least 0 and below 1"),
        (MODEL, {"img_size": "32"}, "`img_size` is '32'; it must be a whole number or nothing"),
        (MODEL, {"weights": "a.pth", "pretrained": True}, "`pretrained` and `weights`: give one"),
        (OBJECTIVE, {"temperature": 0.0}, "`temperature` is 0.0; it must be above 0"),
        (OBJECTIVE, {"path_share": 1.5}, "`path_share` is 1.5; it must be from 0 to 1"),
        (OBJECTIVE, {"masked_share": -0.1}, "`masked_share` is -0.1; it must be from 0 to 1"),
        (OBJECTIVE, {"path_weight": -1.0}, "`path_weight` is -1.0; it must be at least 0"),
        (OBJECTIVE, {"alignment": "mdm"}, "`alignment` is 'mdm'; it must be one of 'mmd', "),
        (OBJECTIVE, {"label_smoothing": 1.0}, "`label_smoothing` is 1.0; it must be at least 0"),
    ],
)  # fmt: skip
def test_a_setting_of_the_wrong_type_or_size_is_refused_in_one_line(
    group: type, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        group(**values)
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


def test_a_whole_number_is_a_number() -> None:
    assert TrainingConfig(lr=1).lr == 1


def test_every_weight_and_share_has_a_range() -> None:
    for setting in fields(ObjectiveConfig):
        bounded = setting.metadata["allowed"] is not None
        number = isinstance(setting.default, float)
        assert bounded == number, setting.name


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
    config = Config.from_flat({"objective": "paper", "path_weight": 2.0, "lr": 0.5})
    assert config.objective == replace(RECIPES["paper"], path_weight=2.0)
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
