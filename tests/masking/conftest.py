from __future__ import annotations

from typing import Any

import pytest

from tests.masking.models import vit


@pytest.fixture(scope="module")
def model() -> Any:
    return vit()
