"""The operators of torch that a classifier from a file may call: those that only compute."""

from __future__ import annotations

from functools import cache

import torch

# Of torch's functions those that do more than compute: they touch files, the terminal, or what
# other draws of random numbers give.
_EFFECTS = {"save", "from_file", "warn", "_print", "manual_seed", "seed"}


@cache
def tensor_functions() -> frozenset[str]:
    """The names in torch's namespace `aten`, without what has effects."""
    schemas = (schema.name for schema in torch._C._jit_get_all_schemas())
    return frozenset(name[6:] for name in schemas if name.startswith("aten::")) - _EFFECTS
