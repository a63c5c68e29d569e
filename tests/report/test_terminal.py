"""The evaluation as tables of a terminal, by the words that a person reads."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from iavit.report.terminal import evaluation_tables
from tests.report import evaluation, figure, parsed


def read(table: Table) -> list[list[str]]:
    """Its title, its headings and its rows."""
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    headings = [str(column.header) for column in table.columns]
    return [[str(table.title)], headings, *(list(row) for row in zip(*columns, strict=True))]


def tables(**more: Any) -> dict[str, list[list[str]]]:
    read_tables = [read(table) for table in evaluation_tables(parsed(evaluation() | more))]
    return {title: rows for (title,), *rows in read_tables}


def test_predictions_and_explainers() -> None:
    found = tables()
    assert found["23 test images of <b>digits</b>"] == [
        ["prediction", "mean", "95 % interval"],
        ["predictor accuracy", "93.1 %", "91.9 % to 94.4 %"],
        ["interpreter accuracy", "90.3 %", "89.0 % to 91.5 %"],
        ["agreement", "98.7 %", "97.5 % to 100.0 %"],
    ]
    headings, interpreter, *_ = found["faithfulness, ± half the 95 % interval"]
    assert headings == ["explainer", "deletion ↓", "insertion ↑", "difference ↑", "ms an image"]
    # 0.00054 s are 0.54 ms; the interval is 0.025 wide.
    assert interpreter == ["interpreter", "0.152 ±0.013", "0.565 ±0.012", "0.414 ±0.013", "0.54"]
    assert found["localisation, ± half the 95 % interval"][1][:2] == [
        "interpreter",
        "0.912 ±0.012",
    ]


def test_groups_stand_beside_each_other() -> None:
    assert not any(title.startswith("by ") for title in tables())
    fairness = {
        "attribute": "colour",
        "gaps": {},
        "explanation_gaps": {},
        "by_group": {
            "red": {
                "accuracy": figure(0.9123),
                "images": 1234,
                "small": False,
                "explanations": {"interpreter": {"difference": figure(0.25)}},
            },
            "blue": {
                "accuracy": figure(0.5),
                "images": 7,
                "small": True,
                "explanations": {"rollout": {"difference": figure(0.75)}},
            },
        },
    }
    assert tables(fairness=fairness)["by colour"] == [
        ["group", "images", "accuracy", "interpreter difference ↑"],
        ["red", "1,234", "91.2 % (90.0 % to 92.5 %)", "0.250 ±0.013"],
        ["blue (few images)", "7", "50.0 % (48.8 % to 51.2 %)", "–"],
    ]
