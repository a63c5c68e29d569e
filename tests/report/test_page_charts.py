"""What a run's metrics.csv says, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from iavit.report.page_charts import read_history, training_charts
from tests.report import METRICS


def test_figures_by_column_and_what_lacks(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(METRICS)
    history, missing = read_history(path)
    assert history == {  # NaN, blanks and what is no number are left out
        "train/loss": [(10, 2.5), (20, 0.05)],
        "val/loss": [(20, 1.5), (40, 0.7)],
        "train/predictor_accuracy": [(10, 0.25), (20, 0.5), (40, 0.75)],
    }
    assert missing.startswith("Its metrics.csv has no figures for train/cross_entropy, ")
    assert "train/alignment" in missing
    assert "val/predictor_accuracy" in missing
    assert "train/loss" not in missing
    assert [chart.title for chart in training_charts(history)] == ["loss", "predictor accuracy"]


def test_every_term_of_the_objective_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,lr,train/subset,train/loss\n1,0.1,0.3,2.0\n2,0.1,0.2,1.0\n")
    drawn = training_charts(read_history(path)[0])
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
    assert told in read_history(path)[1]
