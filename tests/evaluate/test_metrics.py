from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, cast

import pytest
import torch

from iavit.evaluate.metrics import METRICS, of_maps, optional_metrics
from iavit.evaluate.subjects import Explained
from iavit.types import Batch, Explanation

DOCS = Path(__file__).parents[2] / "docs" / "measures.md"


def documented() -> dict[str, str]:
    """Measure to its row in the docs, which comes before gaps of the same name."""
    rows: dict[str, str] = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        first = line.split("|")[1] if line.startswith("| `") else ""
        for name in re.findall(r"`(\w+)`", first):
            rows.setdefault(name, line)
    return rows


def test_every_measure_has_its_row_in_the_docs_with_its_direction() -> None:
    rows = documented()
    for name, metric in METRICS.items():
        assert name in rows, f"{name} has no row in docs/measures.md"
        cells = [cell.strip().split(",")[0] for cell in rows[name].split("|")]
        assert metric.better in cells, f"{name}: docs/measures.md does not say {metric.better}"


def test_what_costs_many_passes_is_measured_where_it_is_asked_for() -> None:
    assert optional_metrics() == ("road", "infidelity", "max_sensitivity", "randomisation")


def test_shares_of_images_are_read_in_per_cent() -> None:
    assert [name for name, metric in METRICS.items() if metric.percent] == [
        "predictor_accuracy",
        "interpreter_accuracy",
        "agreement",
        "pointing_game",
    ]


def test_a_column_says_which_direction_is_better() -> None:
    assert METRICS["deletion"].column == "deletion ↓"
    assert METRICS["road"].column == "ROAD ↑"


@pytest.mark.parametrize("needs", ["evidence", "shortcut", None])
def test_a_measure_of_what_a_batch_lacks_has_no_value(
    needs: Literal["evidence", "shortcut"] | None,
) -> None:
    measure = of_maps(lambda model, batch, explanation: explanation.maps[:, 0, 0], needs)
    maps = Explanation(torch.tensor([[[0.25]], [[0.5]]]), torch.zeros(2), "x")
    region = torch.ones(2, 1, 1, dtype=torch.bool)
    whole = Batch(torch.zeros(2, 3, 1, 1), torch.zeros(2), evidence=region, shortcut=region)
    for batch in (whole, replace(whole, evidence=None), replace(whole, shortcut=None)):
        asked = SimpleNamespace(model=None, batch=batch, explanation=maps)
        found = measure(cast(Explained, asked))
        lacks = needs is not None and getattr(batch, needs) is None
        assert (None if found is None else found.tolist()) == (None if lacks else [0.25, 0.5])
