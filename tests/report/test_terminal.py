"""An evaluation in a terminal, read line by line."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from iavit.report.terminal import evaluation_tables, evaluation_warnings
from tests.report import evaluation, figure, newer_evaluation, parsed


def widened(values: Any) -> Any:
    """Every interval from 0.02 below its mean to 0.02 above it."""
    if not isinstance(values, dict):
        return values
    wide = {name: widened(value) for name, value in values.items()}
    if values.keys() == {"mean", "low", "high"} and values["mean"] is not None:
        wide |= {"low": values["mean"] - 0.02, "high": values["mean"] + 0.02}
    return wide


def printed(values: dict[str, Any]) -> list[list[list[str]]]:
    """Tables as lines of cells, the title first; a cell ends at two blanks."""
    tables = []
    for table in evaluation_tables(parsed(widened(values))):
        table.title_justify, table.padding, table.width = "left", (0, 2, 0, 0), 120
        file = io.StringIO()
        Console(file=file, width=200).print(table)
        lines = [line.split("  ") for line in file.getvalue().splitlines() if line.strip(" ─")]
        tables.append([[cell.strip() for cell in line if cell.strip()] for line in lines])
    return tables


def test_predictions_are_shares_with_their_intervals() -> None:
    title, headings, *rows = printed(evaluation())[0]
    assert title == ["23 test images of <b>digits</b>"]
    assert headings == ["prediction", "mean", "95 % interval"]
    assert rows == [
        ["predictor accuracy", "93.1 %", "91.1 % to 95.1 %"],
        ["interpreter accuracy", "90.3 %", "88.3 % to 92.3 %"],
        ["agreement", "98.7 %", "96.7 % to 100.7 %"],
    ]


def test_explainers_with_half_an_intervals_width_and_milliseconds() -> None:
    title, headings, *rows = printed(evaluation())[1]
    assert title == ["faithfulness, ± half the 95 % interval"]
    assert headings == ["explainer", "deletion ↓", "insertion ↑", "difference ↑", "ms an image"]
    assert rows == [
        ["interpreter", "0.152 ±0.020", "0.565 ±0.020", "0.414 ±0.020", "0.54"],
        ["rollout", "0.143 ±0.020", "0.609 ±0.020", "0.466 ±0.020", "0.32"],
        ["random", "0.034 ±0.020", "0.033 ±0.020", "-0.001 ±0.020", "0.00"],
    ]


def test_localisation_is_a_table_of_its_own_and_says_where_nothing_is_known() -> None:
    title, headings, *rows = printed(evaluation())[2]
    assert title == ["localisation, ± half the 95 % interval"]
    assert headings == ["explainer", "pointing game ↑", "evidence mass ↑"]
    assert rows[1] == ["rollout", "0.876 ±0.020", "–"]
    values = evaluation()
    values["localisation"] = {}
    assert len(printed(values)) == 2


def test_further_measures_follow_the_first() -> None:
    title, headings, *rows = printed(newer_evaluation())[2]
    assert title == ["further measures, ± half the 95 % interval"]
    assert headings == ["explainer", "over substrates ↑"]
    assert rows[0] == ["interpreter", "0.410 ±0.020"]


def test_protocols_and_patches_that_suffice_the_fewest_first() -> None:
    values = evaluation()
    values["protocols"] = {
        "chefer": {"rollout": {"positive": figure(0.25), "negative": figure(0.5)}}
    }
    patches = {"patches": 9, "coverage": figure(0.9375), "share_of_patches": figure(0.140625)}
    values["sufficient"] = {
        "coverage_asked": 0.9,
        "calibrated_on": 40,
        "tested_on": 23,
        "rollout": patches | {"patches": 12},
        "interpreter": patches,
    }
    *_, protocol, sufficient = printed(values)
    assert protocol == [
        ["protocol chefer"],
        ["explainer", "positive", "negative"],
        ["rollout", "0.250 ±0.020", "0.500 ±0.020"],
    ]
    assert sufficient[0] == ["first patches that keep the answer in 90 % of new images"]
    assert [row[:2] for row in sufficient[2:]] == [["interpreter", "9"], ["rollout", "12"]]
    assert sufficient[2][2:] == ["14.1 %", "93.8 % (91.8 % to 95.8 %)"]


def test_where_all_patches_are_needed_a_line_says_so_in_place_of_a_row() -> None:
    values = evaluation()
    all_of_them = {"patches": 64, "coverage": figure(1.0), "share_of_patches": figure(1.0)}
    values["sufficient"] = {
        "coverage_asked": 0.9,
        "calibrated_on": 40,
        "tested_on": 23,
        "interpreter": {
            "patches": 9, "coverage": figure(0.9375), "share_of_patches": figure(0.140625)
        },
        "rollout": all_of_them,
    }  # fmt: skip
    assert [row[:2] for row in printed(values)[-1][2:]] == [["interpreter", "9"]]
    line = "No fewer than all patches keep the answer, in the order of rollout."
    assert line in evaluation_warnings(parsed(values))
    values["sufficient"]["interpreter"] = all_of_them
    assert not any("keep the answer" in table[0][0] for table in printed(values))
    (both,) = (line for line in evaluation_warnings(parsed(values)) if "patches" in line)
    assert both.removesuffix(".").split("order of ")[1] == "interpreter, rollout"


def test_what_a_reader_might_miss() -> None:
    values = newer_evaluation()
    values["explainers_left_out"] = {"grad_cam": "needs a grid"}
    values["images_left_out"] = 1234
    assert list(evaluation_warnings(parsed(values))) == [
        "Inside the noise (95 %, corrected for all comparisons): the difference of interpreter "
        "from rollout.",
        "Left out: grad_cam: needs a grid.",
        "Left out: 1,234 images that could not be read.",
    ]
    assert list(evaluation_warnings(parsed(evaluation()))) == []


def test_groups_stand_beside_each_other() -> None:
    assert all(title != ["by colour"] for title, *_ in printed(evaluation()))
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
    title, *rows = printed(evaluation() | {"fairness": fairness})[-1]
    assert title == ["by colour"]
    assert rows == [
        ["group", "images", "accuracy", "interpreter difference ↑"],
        ["red", "1,234", "91.2 % (89.2 % to 93.2 %)", "0.250 ±0.020"],
        ["blue (few images)", "7", "50.0 % (48.0 % to 52.0 %)", "–"],
    ]
