"""What an evaluation may be asked to measure."""

from __future__ import annotations

import pytest

from iavit.errors import UserError
from iavit.evaluate.measurement import Settings


@pytest.mark.parametrize("points", [1, 10_001, 99_999_999])
def test_a_curve_has_a_number_of_points_that_can_be_measured(points: int) -> None:
    with pytest.raises(UserError, match=f"`points` is {points}; a curve has at"):
        Settings(points=points)
