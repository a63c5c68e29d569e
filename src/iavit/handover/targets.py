"""A class by its name or number."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from operator import index

from iavit.errors import UserError


def class_index(classes: Sequence[str], target: str | int) -> int:
    """The number of a class, from 0 to C - 1; a name comes before the number that it looks like.

    Raises `UserError` for a class that there is not, with the nearest names.
    """
    if isinstance(target, str) and target in classes:
        return list(classes).index(target)
    try:
        number = int(target) if isinstance(target, str) else index(target)
    except (ValueError, TypeError):
        lowered = {name.lower(): name for name in classes}
        close = difflib.get_close_matches(str(target).lower(), lowered)
        near = [lowered[name] for name in close] or list(classes[:10])
        raise UserError(
            f"`target` is '{target}', and there is no such class; did you mean {', '.join(near)}?"
        ) from None
    if not 0 <= number < len(classes):
        raise UserError(
            f"`target` is {number}; the {len(classes)} classes have the numbers "
            f"0 to {len(classes) - 1}"
        )
    return number
