from __future__ import annotations

from typing import Any

import pytest

from iavit.config import Config
from iavit.earlier import without_removed
from iavit.errors import UserError


def test_settings_that_have_gone_are_left_out_where_they_changed_nothing() -> None:
    old = Config().flat() | {"subset_simulation_weight": 0.0, "attention_queries": "patches"}
    gone = {"attention_layers": None, "subset_weight": 0.0}
    assert without_removed(old | gone) == Config().flat()
    assert without_removed({"lr": 0.5, "alignment": "mmd"}) == {"lr": 0.5, "alignment": "mmd"}


def test_settings_of_another_name_are_read_by_it() -> None:
    old = {"path_weight": 3.0, "path_attention_weight": 0.25, "path_share": 0.75}
    new = {"effect_weight": 3.0, "effect_attention_weight": 0.25, "effect_share": 0.75}
    assert without_removed(old) == new


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subset_simulation_weight", 0.5),
        ("subset_weight", 1.0),
        ("attention_layers", 1),
        ("attention_queries", "class"),
        ("alignment", "mmd_unbiased"),
    ],
)
def test_settings_that_have_gone_are_refused_with_the_version_that_has_them(
    name: str, value: Any
) -> None:
    with pytest.raises(UserError, match=f"`{name}` is {value!r}.*use iavit 0.1, which wrote it"):
        without_removed({name: value})
