"""What a run's metrics.csv says, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iavit.config import Config
from iavit.report import page_charts
from iavit.report.charts import BASELINE, DISTINCT, FAINT, TRAIN, VALIDATION, Line
from iavit.report.comparison_charts import Ranked
from iavit.report.page_charts import (
    cost_chart,
    curve_charts,
    rankings,
    read_history,
    styles_of,
    training_charts,
)
from iavit.training.directory import load_run
from tests.report import METRICS, evaluation, figure, newer_evaluation, parsed

PAPER = ["train/alignment", "val/alignment", "val/predictor_accuracy"]  # not in `METRICS`


def test_figures_by_column_and_what_lacks(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(METRICS)
    history, missing = read_history(path, [*PAPER, "train/loss"])
    assert history == {  # NaN, blanks and what is no number are left out
        "train/loss": [(10, 2.5), (20, 0.05)],
        "val/loss": [(20, 1.5), (40, 0.7)],
        "train/predictor_accuracy": [(10, 0.25), (20, 0.5), (40, 0.75)],
    }
    assert missing == f"Its metrics.csv has no figures for {', '.join(PAPER)}."
    assert [chart.title for chart in training_charts(history)] == ["loss", "predictor accuracy"]


def test_every_term_of_the_objective_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,lr,train/subset,train/loss\n1,0.1,0.3,2.0\n2,0.1,0.2,1.0\n")
    drawn = training_charts(read_history(path, [])[0])
    assert [chart.title for chart in drawn] == ["loss", "subset"]
    assert "subset over the training steps" in drawn[1].drawing


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "The run has no metrics.csv"),
        ("", "metrics.csv has no figures, so"),
        ("step,train/loss\n", "metrics.csv has no figures, so"),
        ("at,train/loss\n1,2\n", "metrics.csv has no figures, so"),
        ("step,train/loss\n1\n2,,,5\n", "metrics.csv has no figures, so"),
        ("step,train/loss\n1,0.5\n", "metrics.csv has no figures for val/loss"),
    ],
)
def test_without_training_figures(tmp_path: Path, content: str | None, told: str) -> None:
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_text(content)
    assert told in read_history(path, ["train/loss", "val/loss"])[1]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the drawings are asked for: each drawer's name, what is drawn, and how."""
    found: list[tuple[Any, ...]] = []

    def drawer(name: str) -> Callable[..., str]:
        def draw(*given: Any, **named: Any) -> str:
            found.append((name, *given, named))
            return f"<svg>{name}</svg>"

        return draw

    for name in ("line_chart", "ranking", "scatter"):
        monkeypatch.setattr(page_charts, name, drawer(name))
    return found


def test_as_many_explainers_have_a_colour_as_can_be_told_apart() -> None:
    """The one that the page is about first, then by difference; what knows nothing is dotted."""
    assert styles_of(parsed(evaluation())) == {
        "rollout": DISTINCT[1], "interpreter": DISTINCT[0], "random": BASELINE
    }  # fmt: skip
    values = evaluation()
    for number in range(6):
        other = {**values["faithfulness"]["rollout"], "difference": figure(0.3 - number / 100)}
        values["faithfulness"][f"other_{number}"] = other
    styles = styles_of(parsed(values))
    assert [styles[f"other_{number}"] for number in range(6)] == [*DISTINCT[2:], FAINT, FAINT]


def test_curves_have_their_bands_but_for_pale_ones(asked: list[tuple[Any, ...]]) -> None:
    found = parsed(evaluation())
    styles = {"rollout": DISTINCT[0], "interpreter": FAINT, "random": BASELINE}
    charts = curve_charts(found, styles)
    assert [(chart.title, chart.numbered) for chart in charts] == [
        ("insertion", ()),
        ("deletion", ()),
    ]
    (_, insertion, first), (_, deletion, second) = asked
    assert [line.name for line in insertion] == ["interpreter", "rollout", "random"]  # pale below
    bands = found.faithfulness["rollout"].curves
    assert insertion[1] == Line(
        "rollout", DISTINCT[0], bands.fractions, bands.insertion,
        (bands.insertion_low, bands.insertion_high),
    )  # fmt: skip
    assert deletion[1] == Line(
        "rollout", DISTINCT[0], bands.fractions, bands.deletion,
        (bands.deletion_low, bands.deletion_high),
    )  # fmt: skip
    assert (insertion[0].band, insertion[0].y) == (
        None,
        found.faithfulness["interpreter"].curves.insertion,
    )
    assert first == {
        "name": "insertion", "x_label": "patches shown", "shares": (True, True),
        "label": "insertion: probability of the explained class over patches shown",
    }  # fmt: skip
    assert (second["name"], second["x_label"]) == ("deletion", "patches removed")


def test_rankings_are_by_both_differences_with_a_word_on_noise(
    asked: list[tuple[Any, ...]],
) -> None:
    first, second = rankings(parsed(newer_evaluation()))
    assert first.title == "insertion minus deletion"
    assert second.title == "insertion minus deletion, averaged over substrates"
    (_, rows, named), (_, averaged, other) = asked
    rollout, interpreter, random = rows
    assert (rollout.name, rollout.subject, rollout.word) == ("rollout", False, "within noise")
    assert (rollout.mean, rollout.low, rollout.high) == pytest.approx((0.4659, 0.4534, 0.4784))
    assert (interpreter.name, interpreter.subject, interpreter.word) == ("interpreter", True, "")
    assert (random.name, random.subject) == ("random", False)
    assert [row.mean for row in averaged] == [0.45, 0.41, 0.02]
    assert named == {
        "name": "rank-difference", "label": "explainers by insertion minus deletion",
        "x_label": "insertion minus deletion", "far": "random",
    }  # fmt: skip
    assert other["name"] == "rank-mean_difference"
    values = evaluation()
    values["faithfulness"]["rollout"]["difference"] = figure(None)
    bare = {"mean": 0.25, "low": None, "high": None}
    values["faithfulness"]["random"]["difference"] = bare
    asked.clear()
    assert len(rankings(parsed(values))) == 1  # of substrates nothing is known
    assert [row.name for row in asked[0][1]] == ["interpreter", "random"]
    assert asked[0][1][1] == Ranked("random", 0.25, 0.25, 0.25)


def test_costs_are_in_milliseconds_of_what_was_timed(asked: list[tuple[Any, ...]]) -> None:
    chart = cost_chart(parsed(evaluation()))
    assert chart is not None
    assert (chart.title, chart.numbered) == ("cost beside faithfulness", ("rollout", "interpreter"))
    ((_, dots, baseline, named),) = asked
    assert [(dot.name, dot.subject) for dot in dots] == [("rollout", False), ("interpreter", True)]
    assert [dot.milliseconds for dot in dots] == pytest.approx([0.32, 0.54])
    assert [dot.faithfulness for dot in dots] == pytest.approx([0.4659, 0.4136])
    assert baseline == ("random", pytest.approx(-0.0006))
    assert named["name"] == "cost"
    values = evaluation()
    del values["faithfulness"]["random"], values["localisation"]["random"]
    values["comparisons"] = []
    values["faithfulness"]["rollout"]["seconds_per_image"] = 0.0
    asked.clear()
    few = cost_chart(parsed(values))
    assert few is not None
    assert (few.numbered, asked[0][2]) == (("interpreter",), None)
    values["faithfulness"]["interpreter"]["difference"] = figure(None)
    assert cost_chart(parsed(values)) is None


def test_training_is_a_line_and_validation_another(asked: list[tuple[Any, ...]]) -> None:
    history = {
        "train/loss": [(1.0, 0.5), (2.0, 0.25)],
        "val/loss": [(2.0, 0.75)],
        "val/own_accuracy": [(2.0, 0.125)],
    }
    assert [chart.title for chart in training_charts(history)] == ["loss", "own accuracy"]
    (_, lines, named), (_, others, other) = asked
    assert lines == [
        Line("train", TRAIN, (1.0, 2.0), (0.5, 0.25)), Line("val", VALIDATION, (2.0,), (0.75,))
    ]  # fmt: skip
    assert others == [Line("val", VALIDATION, (2.0,), (0.125,))]
    assert named == {
        "name": "loss", "label": "loss over the training steps", "x_label": "step",
        "shares": (False, False),
    }  # fmt: skip
    assert (other["name"], other["shares"]) == ("own_accuracy", (False, True))
    training_charts({"train/agreement": [(1.0, 0.5)]})
    assert asked[-1][-1]["shares"] == (False, True)  # a share as the accuracies are


LABELS = ("loss", "cross_entropy", "predictor_accuracy")
BRANCH = ("simulation", "effect", "effect_attention", "agreement")


@pytest.mark.parametrize(
    ("settings", "terms"),
    [
        ({}, (*LABELS, *BRANCH)),
        ({"steps": 0, "interpreter_steps": 5}, ("loss", *BRANCH)),
        ({"objective": "plain"}, LABELS),
        (
            {"objective": "paper"},
            (*LABELS, "simulation", "alignment", "agreement", "interpreter_accuracy"),
        ),
        ({"effect_share": 0.0}, (*LABELS, "simulation", "agreement")),
    ],
)
def test_what_is_expected_is_what_the_settings_ask_for(
    settings: dict[str, Any], terms: tuple[str, ...]
) -> None:
    columns = page_charts.expected_columns(Config.from_flat(settings))
    assert columns == [f"{stage}/{term}" for term in terms for stage in ("train", "val")]


def test_masked_copies_are_of_training_alone() -> None:
    columns = page_charts.expected_columns(Config.from_flat({"masked_share": 0.5}))
    assert "train/masked_cross_entropy" in columns
    assert "val/masked_cross_entropy" not in columns


def test_a_run_has_what_is_expected_of_it(tiny_run: Path) -> None:
    columns = page_charts.expected_columns(load_run(tiny_run).config)
    history, missing = read_history(tiny_run / "metrics.csv", columns)
    assert missing == ""
    assert set(history) == set(columns)


def test_a_history_that_lacks_nothing_says_nothing(tmp_path: Path) -> None:
    columns = [f"{stage}/{term}" for term in page_charts.FIRST for stage in ("train", "val")]
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,lr,{','.join(columns)}\n3,0.1{',0.5' * 12}\n")
    history, missing = read_history(path, columns)
    assert missing == ""
    assert history == {column: [(3.0, 0.5)] for column in columns}
