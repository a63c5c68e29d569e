"""The evaluation in words and tables."""

from __future__ import annotations

from typing import Any

import pytest

from iavit.report.cells import Cell, number, p_value, plain_table
from iavit.report.findings import (
    compared,
    highlights,
    left_out,
    noise_words,
    ranked,
    sentences,
    verdict,
)
from iavit.report.page_tables import (
    comparison_table,
    explainer_table,
    fairness_tables,
    prediction_table,
    protocol_tables,
    sanity_table,
    substrate_table,
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


def added() -> dict[str, Any]:
    """The evaluation with what newer files also say, every figure different."""
    values = evaluation()
    means = {"interpreter": 0.41, "rollout": 0.45, "random": 0.02}
    for at, (name, of) in enumerate(values["faithfulness"].items()):
        of["mean_difference"] = figure(means[name])
        of["substrates"] = {
            substrate: {"difference": figure(0.31 + 0.07 * at + 0.2 * row)}
            for row, substrate in enumerate(("mean", "zeros"))
        }
    for entry in values["comparisons"]:
        entry |= {"p": 0.004, "adjusted_p": 0.0163, "inside_noise": False}
    values["comparisons"][0] |= {"adjusted_p": 0.0517, "inside_noise": True}
    values["comparisons"][2] |= {"adjusted_p": 0.00002}
    return values


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0163, "p = 0.016"),
        (0.00002, "p < 0.001"),
        (None, ""),
        (1.0, "p = 1.000"),
    ],
)
def test_p_value(p: float | None, text: str) -> None:
    assert p_value(p).replace("\N{NO-BREAK SPACE}", " ") == text


def test_the_correction_decides_what_is_noise() -> None:
    # The interval, -0.068 to -0.036, leaves 0 out: uncorrected, rollout would be ahead.
    rows = dict(comparison_table(added()).rows)  # type: ignore[union-attr]
    assert rows["rollout"][0].word == "within noise"
    assert rows["rollout"][0].p.endswith("0.052")
    assert rows["random"][0].word == "better"
    assert "<" in rows["random"][0].p
    told = sentences(added())[2].replace("\N{NO-BREAK SPACE}", " ")
    assert told.endswith(
        f"within noise (95 % interval {MINUS}0.068 to {MINUS}0.036, adjusted p = 0.052)."
    )


def test_a_difference_has_two_directions() -> None:
    forth = compared(evaluation(), "interpreter", "rollout", "difference")
    back = compared(evaluation(), "rollout", "interpreter", "difference")
    assert forth is not None
    assert back is not None
    assert (forth["low"], forth["high"]) == (-0.0683, -0.0362)
    assert (back["low"], back["high"]) == (0.0362, 0.0683)
    assert back["mean"] == -(forth["mean"] or 0)
    assert compared(evaluation(), "rollout", "random", "difference") is None


def test_noise_is_told_of_the_subject_and_of_the_next() -> None:
    assert noise_words(evaluation(), "difference") == {}
    assert noise_words(added(), "difference") == {
        "rollout": "within noise",
    }
    values = added()
    values["comparisons"][0]["inside_noise"] = False
    values["comparisons"].append(comparison("random", "difference", -0.1, 0.2) | {"a": "rollout"})
    values["faithfulness"]["interpreter"]["difference"] = figure(0.9)
    assert noise_words(values, "difference") == {"rollout": "within noise of next"}


def test_a_row_a_substrate() -> None:
    table = substrate_table(added())
    assert table is not None
    assert table.headings == ["substrate", "rollout", "interpreter", "random"]
    assert [name for name, _ in table.rows] == ["average", "mean", "zeros"]
    rows = {name: [cell.mean for cell in cells] for name, cells in table.rows}
    assert rows == {
        "average": ["0.450", "0.410", "0.020"],
        "mean": ["0.380", "0.310", "0.450"],
        "zeros": ["0.580", "0.510", "0.650"],
    }
    assert [cells[0].word for _, cells in table.rows] == ["best"] * 3  # random is no rival
    assert all(cell.word == "" for _, cells in table.rows for cell in cells[1:])
    assert substrate_table(evaluation()) is None


def test_a_substrate_named_mean_is_no_figure() -> None:
    assert not {"substrates", "mean"} & set(explainer_table(added()).headings)


def test_files_left_out() -> None:
    assert left_out(evaluation(), 0) == ""
    assert left_out(evaluation() | {"images_left_out": 0}, 0) == ""
    told = left_out(evaluation() | {"images_left_out": 2}, 0)
    assert told == "2 of the test images could not be read and were left out (23 were measured)."
    told = left_out(evaluation() | {"images_left_out": 1}, 5)
    assert told.startswith("1 of the test images could not be read and was left out")
    assert "left out 5 files: bad_images.txt" in told
    assert "left out 1 file: " in left_out(evaluation(), 1)


def test_groups() -> None:
    assert fairness_tables(evaluation()) == {}
    fairness = {
        "attribute": "colour",
        "gaps": {"demographic_parity": figure(0.0312)},
        "by_group": {
            "red": {"accuracy": figure(0.9123), "images": 1234, "small": False},
            "blue": {"accuracy": figure(None), "images": 7, "small": True, "rate": 0.25},
        },
    }
    tables = fairness_tables(evaluation() | {"fairness": fairness})
    assert tables["gaps"].rows == [("demographic parity", [Cell("0.031", "0.019 to 0.044")])]
    assert tables["by_group"].headings == ["measure", "red", "blue (few images)"]
    assert dict(tables["by_group"].rows) == {
        "accuracy": [Cell("0.912", "0.900 to 0.925"), Cell("–")],
        "images": [Cell("1,234"), Cell("7")],
        "rate": [Cell("–"), Cell("0.250")],
    }


def test_sanity_and_protocols_are_plain_tables() -> None:
    assert sanity_table(evaluation()) is None
    assert protocol_tables(evaluation()) == {}
    of: dict[str, dict[str, Any]] = {
        "rollout": {"similarity": figure(0.5), "layers": [1, 2]},
        "random": {"deep": {"er": 3}},
    }
    table = sanity_table(evaluation() | {"sanity": of})
    assert table == plain_table("explainer", of)
    assert table.headings == ["explainer", "similarity", "deep: er"]
    assert table.rows[1] == ("random", [Cell("–"), Cell("3")])
    protocols = protocol_tables(evaluation() | {"protocols": {"rise": of, "chefer": of}})
    assert protocols == {"rise": table, "chefer": table}
