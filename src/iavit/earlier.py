"""What earlier versions wrote, and this one reads no more as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iavit.errors import UserError

# Settings of iavit 0.1 that have gone, and the value at which they changed nothing.
REMOVED: dict[str, Any] = {
    "attention_layers": None,
    "attention_queries": "patches",
    "subset_simulation_weight": 0.0,
    "subset_weight": 0.0,
}

# Settings of iavit 0.1 by the name that they have now.
RENAMED = {
    "path_weight": "effect_weight",
    "path_attention_weight": "effect_attention_weight",
    "path_share": "effect_share",
}


def without_removed(values: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier version wrote, without the settings that have gone, by today's names.

    Raises `UserError` where one of them changed something.
    """
    changed = [name for name in REMOVED if values.get(name, REMOVED[name]) != REMOVED[name]]
    if values.get("alignment") == "mmd_unbiased":
        changed.append("alignment")
    if changed:
        raise UserError(
            f"`{changed[0]}` is {values[changed[0]]!r}, which this version has no more; "
            "use iavit 0.1, which wrote it"
        )
    return {RENAMED.get(name, name): value for name, value in values.items() if name not in REMOVED}
