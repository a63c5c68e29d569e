"""A setting as it is declared, with its help line and range, and checked when it is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from iavit.errors import UserError

T = TypeVar("T")

# What a number may be, in words, and whether it is.
Range = tuple[str, Callable[[float], bool]]
AT_LEAST_0: Range = ("at least 0", lambda number: number >= 0)
AT_LEAST_1: Range = ("at least 1", lambda number: number >= 1)
POSITIVE: Range = ("above 0", lambda number: number > 0)
SHARE: Range = ("from 0 to 1", lambda number: 0 <= number <= 1)
BELOW_1: Range = ("at least 0 and below 1", lambda number: 0 <= number < 1)
SEED: Range = ("from 0 to 2**32 - 1", lambda number: 0 <= number < 2**32)
PROCESSES: Range = ("from 0 to 512", lambda number: 0 <= number <= 512)
FACTOR: Range = ("above 0 and at most 1", lambda number: 0 < number <= 1)

_KINDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}


def option(default: T, help_line: str, allowed: Range | None = None) -> T:
    """A field with its default, the line that `--help` shows, and what a number may be."""
    value: T = field(default=default, metadata={"help": help_line, "allowed": allowed})
    return value


def check(settings: Any) -> None:
    """Refuse values of another type than their field's, numbers out of range, NaN and infinity."""
    hints = _hints(type(settings))  # type: ignore[arg-type]  # mypy takes classes for unhashable
    for setting in fields(settings):
        value = getattr(settings, setting.name)
        if not _fits(value, hints[setting.name]):
            raise UserError(
                f"`{setting.name}` is {value!r}; it must be {_in_words(hints[setting.name])}"
            )
        allowed: Range | None = setting.metadata["allowed"]
        if allowed is not None and value is not None and not allowed[1](value):
            raise UserError(f"`{setting.name}` is {value}; it must be {allowed[0]}")


@cache
def _hints(settings: type) -> dict[str, Any]:
    return get_type_hints(settings)


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_fits(value, kind) for kind in get_args(hint))
    if get_origin(hint) is Literal:
        return any(value == name and type(value) is type(name) for name in get_args(hint))
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint


def _in_words(hint: Any) -> str:
    if isinstance(hint, UnionType):
        return " or ".join(_in_words(kind) for kind in get_args(hint))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    return "nothing" if hint is NoneType else _KINDS[hint]
