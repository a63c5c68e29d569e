"""The evaluation as tables of the page."""

from __future__ import annotations

from iavit.evaluate.metrics import METRICS
from iavit.report.cells import Cell
from iavit.report.findings import sentences
from iavit.report.page_tables import (
    class_table,
    comparison_table,
    confusion_table,
    explainer_table,
    fairness_tables,
    prediction_table,
    protocol_tables,
    substrate_table,
    terms,
)
from tests.report import CLASSES, evaluation, figure, newer_evaluation, parsed

MINUS = "\N{MINUS SIGN}"
P = "p = 0.016".replace(" ", "\N{NO-BREAK SPACE}")


def test_the_best_of_each_column() -> None:
    table = explainer_table(parsed(evaluation()))
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
    rows = dict(explainer_table(parsed(values)).rows)
    assert rows["interpreter"][3].word == rows["rollout"][3].word == "best"


def test_columns_are_those_of_the_catalogue() -> None:
    values = evaluation()
    values["faithfulness"]["rollout"]["road"] = figure(0.7771)
    table = explainer_table(parsed(values))
    assert table.headings[-2] == "ROAD ↑"  # after what a terminal shows first
    assert dict(table.rows)["rollout"][-2] == Cell("0.777", "0.765 to 0.790", "best")
    assert dict(table.rows)["interpreter"][-2] == Cell("–")


def test_comparisons() -> None:
    table = comparison_table(parsed(evaluation()))
    assert table is not None
    assert table.headings == ["interpreter against", "difference ↑", "deletion ↓"]
    rows = dict(table.rows)
    assert list(rows) == ["rollout", "random"]
    assert rows["rollout"][0] == Cell(
        f"{MINUS}0.052",
        f"{MINUS}0.068 to {MINUS}0.036",
        "worse",
        "p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.016",
    )
    assert [cell.word for cell in rows["rollout"]] == ["worse", "within noise"]
    assert [cell.word for cell in rows["random"]] == ["better", "worse"]
    assert comparison_table(parsed(evaluation() | {"comparisons": []})) is None


def test_predictions() -> None:
    rows = dict(prediction_table(parsed(evaluation())).rows)
    space = "\N{NO-BREAK SPACE}"
    assert rows["agreement"] == [Cell(f"98.7{space}%", f"97.5{space}% to 100.0{space}%")]
    assert rows["divergence"] == [Cell("0.046", "0.033 to 0.058")]
    assert rows["predictor calibration error (ECE)"] == [Cell("0.033")]


def test_the_correction_decides_what_is_noise() -> None:
    # The interval, -0.068 to -0.036, leaves 0 out: uncorrected, rollout would be ahead.
    rows = dict(comparison_table(parsed(newer_evaluation())).rows)  # type: ignore[union-attr]
    assert rows["rollout"][0].word == "within noise"
    assert rows["rollout"][0].p.endswith("0.052")
    assert rows["random"][0].word == "better"
    assert "<" in rows["random"][0].p
    told = sentences(parsed(newer_evaluation()))[2].replace("\N{NO-BREAK SPACE}", " ")
    assert told.endswith(
        f"within noise (95 % interval {MINUS}0.068 to {MINUS}0.036, adjusted p = 0.052)."
    )


def test_a_row_a_substrate() -> None:
    table = substrate_table(parsed(newer_evaluation()))
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
    assert substrate_table(parsed(evaluation())) is None


def test_a_substrate_named_mean_is_no_figure() -> None:
    assert not {"substrates", "mean"} & set(explainer_table(parsed(newer_evaluation())).headings)


def test_groups() -> None:
    assert fairness_tables(parsed(evaluation())) == {}
    fairness = {
        "attribute": "colour",
        "gaps": {"demographic_parity": figure(0.0312)},
        "explanation_gaps": {},
        "by_group": {
            "red": {"accuracy": figure(0.9123), "images": 1234, "small": False},
            "blue": {
                "accuracy": figure(None),
                "images": 7,
                "small": True,
                "explanations": {"rollout": {"difference": figure(0.25)}},
            },
        },
    }
    tables = fairness_tables(parsed(evaluation() | {"fairness": fairness}))
    assert tables["gaps"].rows == [("demographic parity", [Cell("0.031", "0.019 to 0.044")])]
    assert tables["by_group"].headings == ["measure", "red", "blue (few images)"]
    assert dict(tables["by_group"].rows) == {
        "images": [Cell("1,234"), Cell("7")],
        "accuracy": [Cell("0.912", "0.900 to 0.925"), Cell("–")],
        "rollout: difference": [Cell("–"), Cell("0.250", "0.237 to 0.263")],
    }


def test_what_trust_foretells_stands_beside_it() -> None:
    values = evaluation()
    correlation = {"contributions": figure(0.6111)}
    values["prediction"]["trust"] = figure(0.44) | {"correlation": correlation}
    rows = dict(prediction_table(parsed(values)).rows)
    assert rows["trust"] == [Cell("0.440", "0.427 to 0.453")]
    assert rows["rank correlation of trust with insertion minus deletion of contributions"] == [
        Cell("0.611", "0.599 to 0.624")
    ]


def test_protocols() -> None:
    assert protocol_tables(parsed(evaluation())) == {}
    explainers = {
        "rollout": {"insertion": figure(0.5), "positive": figure(0.7)},
        "random": {"insertion": figure(0.1), "positive": figure(None)},
    }
    tables = protocol_tables(parsed(evaluation() | {"protocols": {"rise": explainers}}))
    assert list(tables) == ["rise"]
    assert tables["rise"].headings == ["explainer", "insertion", "positive"]
    assert tables["rise"].rows[1] == ("random", [Cell("0.100", "0.088 to 0.113"), Cell("–")])


CONFUSION = [[7, 2, 0], [0, 9, 0], [1, 1, 3]]


def test_by_class() -> None:
    assert class_table(parsed(evaluation()), CLASSES) is None
    table = class_table(parsed(evaluation() | {"confusion": CONFUSION}), ("cat", "dog", "fox"))
    assert table is not None
    assert table.headings == ["true class", "images", "predicted rightly", "taken for"]
    rows = {name: [cell.mean for cell in cells] for name, cells in table.rows}
    space = "\N{NO-BREAK SPACE}"
    assert rows == {
        "cat": ["9", f"77.8{space}%", f"dog{space}(2)"],
        "dog": ["9", f"100.0{space}%", "–"],
        "fox": ["5", f"60.0{space}%", f"cat{space}(1), dog{space}(1)"],
    }
    # Wilson's interval of 9 of 9: its lower end is n / (n + z squared).
    assert dict(table.rows)["dog"][1].interval == f"70.1{space}% to 100.0{space}%"


def test_confusion() -> None:
    values = parsed(evaluation() | {"confusion": CONFUSION})
    table = confusion_table(values, ("cat", "dog", "fox"))
    assert table is not None
    assert table.headings == ["true class, by predicted", "cat", "dog", "fox"]
    assert [[cell.mean for cell in cells] for _, cells in table.rows] == [
        ["7", "2", "·"],
        ["·", "9", "·"],
        ["1", "1", "3"],
    ]
    assert confusion_table(values, [str(n) for n in range(21)]) is None


def test_what_a_measure_means_is_what_is_computed() -> None:
    """A share of the way, not a probability; and least minus most important, not a loss."""
    meaning = {name: metric.meaning for name, metric in METRICS.items()}
    for name, go in (("positive", "highest"), ("negative", "lowest")):
        told = f"share of the way along which the class stays predicted as the {go} patches go"
        assert meaning[f"{name}_perturbation"] == told
    assert meaning["road"].startswith("probability left without the lowest patches minus")


def test_measures_are_explained_by_the_catalogue() -> None:
    found = terms(explainer_table(parsed(evaluation())))
    assert found["pointing game"].startswith("share of images whose highest patch")
    assert set(found) == {"deletion", "insertion", "difference", "pointing game", "evidence mass"}


def test_a_pair_that_was_not_compared_is_a_dash() -> None:
    values = evaluation()
    del values["comparisons"][3]
    table = comparison_table(parsed(values))
    assert table is not None
    rows = dict(table.rows)
    assert rows["random"][1] == Cell("–")
    assert rows["rollout"][1].word == "within noise"


def test_a_class_is_taken_for_three_others_at_most_the_most_frequent_first() -> None:
    counts = [[20, 1, 5, 0, 1234, 3], *[[0] * 6] * 5]
    table = class_table(parsed(evaluation() | {"confusion": counts}), tuple("abcdef"))
    assert table is not None
    (images, right, taken), *others = [cells for _, cells in table.rows]
    assert (images.mean, taken.mean) == (
        "1,263",
        "e\N{NO-BREAK SPACE}(1,234), c\N{NO-BREAK SPACE}(5), f\N{NO-BREAK SPACE}(3)",
    )
    assert right.mean == "1.6\N{NO-BREAK SPACE}%"
    assert others[0][0].mean == "0"
    assert others[0][2].mean == "–"
    whole = confusion_table(parsed(evaluation() | {"confusion": counts}), tuple("abcdef"))
    assert whole is not None
    assert [cell.mean for cell in whole.rows[0][1]] == ["20", "1", "5", "·", "1,234", "3"]
    twenty = [[0] * 20] * 20
    names = [str(number) for number in range(20)]
    assert confusion_table(parsed(evaluation() | {"confusion": twenty}), names) is not None
