from __future__ import annotations

import re
from pathlib import Path

from iavit.evaluate.metrics import METRICS, optional_metrics

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


def test_a_column_says_which_direction_is_better() -> None:
    assert METRICS["deletion"].column == "deletion ↓"
    assert METRICS["road"].column == "ROAD ↑"
