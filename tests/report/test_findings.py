"""The evaluation in words."""

from __future__ import annotations

from typing import Any

import pytest

from iavit.report.cells import Cell
from iavit.report.findings import (
    compared,
    highlights,
    left_out,
    noise_words,
    ranked,
    sentences,
    verdict,
)
from iavit.report.page_tables import explainer_table
from tests.report import comparison, evaluation, figure, newer_evaluation, parsed

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("low", "high", "metric", "word"),
    [
        (0.1, 0.2, "insertion", "better"),
        (-0.2, -0.1, "insertion", "worse"),
        (0.1, 0.2, "deletion", "worse"),
        (-0.2, -0.1, "deletion", "better"),
        (-0.1, 0.2, "deletion", "within noise"),
        (0.0, 0.2, "difference", "within noise"),
    ],
)
def test_verdict(low: float, high: float, metric: str, word: str) -> None:
    values = evaluation() | {"comparisons": [comparison("rollout", metric, low, high)]}
    assert verdict(parsed(values).comparisons[0]) == word


def against(low: float, high: float) -> str:
    """The sentence that compares with the runner-up."""
    values = evaluation() | {"comparisons": [comparison("rollout", "difference", low, high)]}
    return sentences(parsed(values))[2].replace("\N{NO-BREAK SPACE}", " ")


def test_against_the_runner_up() -> None:
    begin = "The best of the other explainers, rollout, reaches 0.466: "
    assert against(-0.07, -0.03) == begin + (
        "rollout is ahead by 0.050 (95 % interval 0.030 to 0.070)."
    )
    assert against(0.03, 0.07) == begin + (
        "the interpreter's attention is ahead by 0.050 (95 % interval 0.030 to 0.070)."
    )
    assert against(-0.03, 0.07) == begin + (
        f"the difference is within noise (95 % interval {MINUS}0.030 to 0.070, adjusted p = 0.016)."
    )


def without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    for section in ("faithfulness", "localisation"):
        values[section] = {n: of for n, of in values[section].items() if n not in names}
    values["comparisons"] = [
        entry for entry in values["comparisons"] if not {entry["a"], entry["b"]} & set(names)
    ]
    return values


def test_neither_the_baseline_nor_the_models_own_is_a_rival() -> None:
    assert "explainers" not in " ".join(sentences(parsed(without(evaluation(), "rollout"))))
    values = evaluation()
    own = {**values["faithfulness"]["interpreter"], "difference": figure(0.9)}
    values["faithfulness"] = {"contributions": own} | values["faithfulness"]
    written = " ".join(sentences(parsed(values)))
    assert "is 0.900 for the contributions." in written
    assert "The best of the other explainers, rollout, reaches 0.466: the contributions are" in (
        written
    )


def test_without_the_interpreter_the_first_has_the_sentences() -> None:
    values = parsed(without(evaluation(), "interpreter"))
    assert "is 0.466 for rollout." in sentences(values)[1]
    assert highlights(values)[-1][0] == "pointing game, rollout"


def test_a_predictor_alone() -> None:
    values = evaluation() | {"prediction": {"predictor_accuracy": figure(0.9312)}}
    space = "\N{NO-BREAK SPACE}"
    assert sentences(parsed(values))[0] == f"The predictor is right on 93.1{space}% of the images."
    assert highlights(parsed(values))[0][0] == "predictor accuracy"
    assert len(highlights(parsed(values))) == 3


def test_without_a_paired_interval() -> None:
    values = parsed(evaluation() | {"comparisons": []})
    assert sentences(values)[2].endswith("rollout is ahead.")


def test_nothing_measured() -> None:
    values = evaluation()
    for explained in values["faithfulness"].values():
        explained["difference"] = figure(None)
    for explained in values["localisation"].values():
        explained["pointing_game"] = figure(None)
    found = parsed(values)
    assert len(sentences(found)) == 1
    assert [cell.mean for _, cell in highlights(found)][-2:] == ["–", "–"]
    assert all(cells[2] == Cell("–") for _, cells in explainer_table(found).rows)
    assert ranked(found) == ["interpreter", "rollout", "random"]


def test_a_difference_has_two_directions() -> None:
    values = parsed(evaluation())
    forth = compared(values, "interpreter", "rollout", "difference")
    back = compared(values, "rollout", "interpreter", "difference")
    assert forth is not None
    assert back is not None
    assert (forth.figure.low, forth.figure.high) == (-0.0683, -0.0362)
    assert (back.figure.low, back.figure.high) == (0.0362, 0.0683)
    assert back.figure.mean == -(forth.figure.mean or 0)
    assert (verdict(forth), verdict(back)) == ("worse", "better")
    assert compared(values, "rollout", "random", "difference") is None


def test_noise_is_said_of_the_subject_and_of_the_next() -> None:
    assert noise_words(parsed(evaluation()), "difference") == {}
    assert noise_words(parsed(newer_evaluation()), "difference") == {"rollout": "within noise"}
    values = newer_evaluation()
    values["comparisons"][0]["inside_noise"] = False
    values["comparisons"].append(comparison("random", "difference", -0.1, 0.2) | {"a": "rollout"})
    values["faithfulness"]["interpreter"]["difference"] = figure(0.9)
    assert noise_words(parsed(values), "difference") == {"rollout": "within noise of next"}


def test_files_left_out() -> None:
    assert left_out(parsed(evaluation()), 0) == ""
    text = left_out(parsed(evaluation() | {"images_left_out": 2}), 0)
    assert text == "2 of the test images could not be read and were left out (23 were measured)."
    text = left_out(parsed(evaluation() | {"images_left_out": 1}), 5)
    assert text.startswith("1 of the test images could not be read and was left out")
    assert "left out 5 files: bad_images.txt" in text
    assert "left out 1 file: " in left_out(parsed(evaluation()), 1)
