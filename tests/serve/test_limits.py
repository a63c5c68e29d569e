"""Whatever is sent, it gets its status, and the next request its answer."""

from __future__ import annotations

import pytest

from iavit.errors import UserError
from iavit.serve.limits import Limits


@pytest.mark.parametrize("name", ["megabytes", "seconds", "queue", "together"])
def test_a_limit_of_nothing(name: str) -> None:
    with pytest.raises(UserError, match=f"`{name}` is 0; it must be above 0"):
        Limits(**{name: 0})
