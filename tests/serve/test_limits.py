"""What a server takes on: its bounds, and those that are none."""

from __future__ import annotations

from typing import Any

import pytest

from iavit.errors import UserError
from iavit.serve.limits import Limits


@pytest.mark.parametrize(
    "name", ["megabytes", "megapixels", "seconds", "queue", "files", "together"]
)
def test_a_limit_of_nothing_or_of_everything(name: str) -> None:
    for value in (0, -3, 1e9):
        given: Any = {name: value}
        with pytest.raises(
            UserError, match=f"`{name}` is {value}; it must be above 0 and below 1e9"
        ):
            Limits(**given)
    for value in (0.25, 999_999_999):
        given = {name: value}
        assert getattr(Limits(**given), name) == value


def test_limits_where_none_are_named_and_what_they_come_to() -> None:
    assert Limits() == Limits(20, 50, 30, 256, 16, 16)
    assert (Limits().body, Limits().pixels) == (20_000_000, 50_000_000)
    limits = Limits(megabytes=0.5, megapixels=0.25)
    assert (limits.body, limits.pixels) == (500_000, 250_000)
