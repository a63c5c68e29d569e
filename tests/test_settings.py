"""Settings check their types and ranges when they are given."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from iavit import settings
from iavit.config import (
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainingConfig,
)
from iavit.errors import UserError

TRAINING, DATA, MODEL, OBJECTIVE = TrainingConfig, DataConfig, ModelConfig, ObjectiveConfig


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
        (OBJECTIVE, {"effect_share": 1.5}, "`effect_share` is 1.5; it must be from 0 to 1"),
        (OBJECTIVE, {"masked_share": -0.1}, "`masked_share` is -0.1; it must be from 0 to 1"),
        (OBJECTIVE, {"effect_weight": -1.0}, "`effect_weight` is -1.0; it must be at least 0"),
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


@pytest.mark.parametrize(
    ("allowed", "fit", "unfit"),
    [
        (settings.AT_LEAST_0, (0, 0.5, 7), (-1, -0.1)),
        (settings.AT_LEAST_1, (1, 3), (0, 0.5, -3)),
        (settings.POSITIVE, (0.25, 3), (0, -0.5)),
        (settings.SHARE, (0, 0.5, 1), (-0.1, 1.5)),
        (settings.BELOW_1, (0, 0.75), (-0.1, 1, 1.5)),
        (settings.SEED, (0, 7, 2**32 - 1), (-1, 2**32)),
        (settings.PROCESSES, (0, 5, 512), (-1, 513)),
        (settings.FACTOR, (0.25, 1), (0, -0.5, 1.5)),
    ],
    ids=lambda value: value[0] if isinstance(value[0], str) else "",
)
def test_the_ends_of_a_range(
    allowed: settings.Range, fit: tuple[float, ...], unfit: tuple[float, ...]
) -> None:
    assert [allowed[1](number) for number in fit] == [True] * len(fit)
    assert [allowed[1](number) for number in unfit] == [False] * len(unfit)


def test_a_setting_has_its_help_line_and_may_be_nothing_where_it_says_so() -> None:
    steps = next(setting for setting in fields(TrainingConfig) if setting.name == "steps")
    assert steps.metadata["help"].startswith("optimiser steps of the predictor")
    assert TrainingConfig(steps=None).steps is None
    assert TrainingConfig(lr=0.5, precision="bf16").precision == "bf16"
