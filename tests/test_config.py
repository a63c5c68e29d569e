"""Settings that check themselves, recipes, and what earlier versions wrote."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from iavit.config import (
    PRESETS,
    RECIPES,
    Config,
    DataConfig,
    ObjectiveConfig,
    TrainingConfig,
    starting_point,
)
from iavit.errors import UserError

ALONE: dict[str, Any] = {"masked_share": 0.0, "masked_weight": 0.5, "path_share": 0.25}
ALONE |= {"path_weight": 0.0, "path_attention_weight": 0.0, "explain_from": 0.0}


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
