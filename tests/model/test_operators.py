"""The operators that a classifier from a file may call."""

from __future__ import annotations

import pytest

from iavit.model.operators import tensor_functions


@pytest.mark.parametrize("name", ["conv2d", "relu", "linear", "batch_norm", "sym_size", "arange"])
def test_what_computes_is_allowed(name: str) -> None:
    assert name in tensor_functions()


@pytest.mark.parametrize(
    "name", ["save", "from_file", "warn", "_print", "manual_seed", "seed", "Print", "fork", ""]
)
def test_what_does_more_or_is_none_of_torchs_on_tensors_is_not(name: str) -> None:
    assert name not in tensor_functions()
