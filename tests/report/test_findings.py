"""The evaluation in words and tables."""

from __future__ import annotations

from typing import Any

import pytest

from iavit.report.findings import (
    Cell,
    comparison_table,
    explainer_table,
    highlights,
    number,
    prediction_table,
    ranked,
    sentences,
    verdict,
)
from tests.report import comparison, evaluation, figure

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.41364, "0.414"),
        (-0.0521, f"{MINUS}0.052"),
        (-0.0004, "0.000"),
        (0.0, "0.000"),
        (1234.5, "1,234.500"),
    ],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0521, "+0.052"), (-0.0521, f"{MINUS}0.052"), (0.0001, "0.000")]
)
def test_number_with_its_sign(value: float, text: str) -> None:
    assert number(value, plus=True) == text


@pytest.mark.parametrize(
    ("low", "high", "metric", "word"),
    [
        (0.1, 0.2, "insertion", "better"),
        (-0.2, -0.1, "insertion", "worse"),
        (0.1, 0.2, "deletion", "worse"),
        (-0.2, -0.1, "deletion", "better"),
        (-0.1, 0.2, "deletion", "within noise"),
        (0.0, 0.2, "difference", "within noise"),
        (None, None, "difference", ""),
    ],
)
def test_verdict(low: float | None, high: float | None, metric: str, word: str) -> None:
    assert verdict({"mean": None, "low": low, "high": high}, metric) == word


def test_the_best_of_each_column() -> None:
    table = explainer_table(evaluation())
    best = {
        heading: [name for name, cells in table.rows if cells[column].word == "best"]
        for column, heading in enumerate(table.headings[1:])
    }
    assert best == {  # random has the lowest deletion and takes no time, but is no rival
        "deletion ↓": ["rollout"],
        "insertion ↑": ["rollout"],
        "difference ↑": ["rollout"],
        "pointing game ↑": ["interpreter"],
        "evidence mass ↑": ["interpreter"],
        "ms an image ↓": ["rollout"],
    }
    assert [name for name, _ in table.rows] == ["rollout", "interpreter", "random"]
    assert dict(table.rows)["interpreter"][2] == Cell("0.414", "0.401 to 0.426")
    assert dict(table.rows)["rollout"][4] == Cell("–")


def test_equals_share_the_best() -> None:
    values = evaluation()
    values["localisation"]["rollout"]["pointing_game"] = figure(0.91234)
    rows = dict(explainer_table(values).rows)
    assert rows["interpreter"][3].word == rows["rollout"][3].word == "best"


def test_a_metric_that_is_new_is_shown_too() -> None:
    values = evaluation()
    values["faithfulness"]["rollout"]["road_score"] = figure(0.7771)
    table = explainer_table(values)
    assert table.headings[-2] == "road score"
    assert dict(table.rows)["rollout"][-2] == Cell("0.777", "0.765 to 0.790")
    assert dict(table.rows)["interpreter"][-2] == Cell("–")


def test_comparisons() -> None:
    table = comparison_table(evaluation())
    assert table is not None
    assert table.headings == ["interpreter against", "difference ↑", "deletion ↓"]
    rows = dict(table.rows)
    assert list(rows) == ["rollout", "random"]
    assert rows["rollout"][0] == Cell(f"{MINUS}0.052", f"{MINUS}0.068 to {MINUS}0.036", "worse")
    assert [cell.word for cell in rows["rollout"]] == ["worse", "within noise"]
    assert [cell.word for cell in rows["random"]] == ["better", "worse"]
    assert comparison_table(evaluation() | {"comparisons": []}) is None


def test_predictions() -> None:
    rows = dict(prediction_table(evaluation()).rows)
    space = "\N{NO-BREAK SPACE}"
    assert rows["agreement"] == [Cell(f"98.7{space}%", f"97.5{space}% to 100.0{space}%")]
    assert rows["divergence"] == [Cell("0.046", "0.033 to 0.058")]
    assert rows["predictor calibration error (ECE)"] == [Cell("0.033")]


def told(low: float, high: float) -> str:
    """The sentence that compares with the runner-up."""
    values = evaluation()
    values["comparisons"] = [comparison("rollout", "difference", low, high)]
    return sentences(values)[2].replace("\N{NO-BREAK SPACE}", " ")


def test_against_the_runner_up() -> None:
    begin = "The best of the other explainers, rollout, reaches 0.466: "
    assert told(-0.07, -0.03) == begin + (
        "rollout is ahead by 0.050 (95 % interval 0.030 to 0.070)."
    )
    assert told(0.03, 0.07) == begin + (
        "the interpreter is ahead by 0.050 (95 % interval 0.030 to 0.070)."
    )
    assert told(-0.03, 0.07) == begin + (
        f"the difference is within noise (95 % interval {MINUS}0.030 to 0.070)."
    )


def without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    for section in ("faithfulness", "localisation"):
        values[section] = {n: of for n, of in values[section].items() if n not in names}
    values["comparisons"] = [
        entry for entry in values["comparisons"] if not {entry["a"], entry["b"]} & set(names)
    ]
    return values


def test_the_baseline_is_a_rival_only_alone() -> None:
    assert "explainers, random, reaches" in " ".join(sentences(without(evaluation(), "rollout")))
    assert "explainers" not in " ".join(
        sentences(without(evaluation(), "rollout", "random")),
    )


def test_without_the_interpreter_the_first_is_told_of() -> None:
    values = without(evaluation(), "interpreter")
    assert "is 0.466 for rollout." in sentences(values)[1]
    assert highlights(values)[-1][0] == "pointing game, rollout"


def test_without_a_paired_interval() -> None:
    assert sentences(evaluation() | {"comparisons": []})[2].endswith("rollout is ahead.")


def test_nothing_measured() -> None:
    values = evaluation()
    for of in values["faithfulness"].values():
        of["difference"] = figure(None)
        of["seconds_per_image"] = None
    for of in values["localisation"].values():
        of["pointing_game"] = figure(None)
    assert len(sentences(values)) == 1
    assert [cell.mean for _, cell in highlights(values)][-2:] == ["–", "–"]
    assert all(cells[-1] == Cell("–") for _, cells in explainer_table(values).rows)
    assert ranked(values) == ["interpreter", "rollout", "random"]
