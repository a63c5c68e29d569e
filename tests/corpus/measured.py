"""What may stand where `evaluation.json` should: cut, of another version, edited by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Change = Callable[[dict[str, Any]], object]


def text(content: str) -> Callable[[str], str]:
    """Another text in its place."""
    return lambda whole: content


def changed(change: Change) -> Callable[[str], str]:
    """The evaluation with something changed."""

    def edit(whole: str) -> str:
        content = json.loads(whole)
        change(content)
        return json.dumps(content)

    return edit


def with_value(value: Any, *keys: Any) -> Callable[[str], str]:
    """The evaluation with another value at a place."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return changed(change)


def without(*keys: str) -> Callable[[str], str]:
    """The evaluation without an entry."""

    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return changed(change)


EVALUATIONS: dict[str, Callable[[str], str]] = {
    "empty": text(""),
    "no JSON": text("{"),
    "list": text("[]"),
    "nothing": text("null"),
    "empty object": text("{}"),
    "deep": text("[" * 100_000),
    "cut": lambda whole: whole[: len(whole) // 2],
    "without its end": lambda whole: whole.rstrip()[:-1],
    "of a later version": with_value(99, "format"),
    "format as a word": with_value("one", "format"),
    "version that steers a terminal": changed(
        lambda content: (content["provenance"].update(version="\x1b[31m9\n"), content.pop("images"))
    ),
    "images as a word": with_value("many", "images"),
    "images missing": without("images"),
    "no prediction": without("prediction"),
    "explainers as a list": with_value([], "faithfulness"),
    "explainer as a number": with_value(1, "faithfulness", "interpreter"),
    "explainer without curves": without("faithfulness", "interpreter", "curves"),
    "figure as a word": with_value("half", "faithfulness", "interpreter", "difference"),
    "figure as a list": with_value([0.5], "faithfulness", "interpreter", "difference"),
    "measure that there is not": with_value(1, "faithfulness", "interpreter", "<b>speed</b>"),
    "curves of different lengths": with_value(
        [0.5], "faithfulness", "interpreter", "curves", "insertion"
    ),
    "score that there is not": with_value("loud", "score"),
    "confusion as a number": with_value(3, "confusion"),
    "comparisons as words": with_value(["a"], "comparisons"),
    "seed as nothing": with_value(None, "provenance", "seed"),
}
