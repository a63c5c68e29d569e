"""Tables by group, of counts made by hand."""

from __future__ import annotations

import pytest

from iavit.evaluate.fairness import Names
from iavit.experiments.audits import fairness_of, mark_table
from tests.experiments.made import measured


def test_what_follows_the_mark_is_counted() -> None:
    colours = [0, 1, 0, 1, 0, 0, 1, 0, 1, 0]  # 0 to 4 agree with the label, the rest do not
    done = [measured("mark_shortcut", 0, 0.0, 5, colours)]  # the rest is wrong, as the colour is
    found = fairness_of(done[0], Names("mark colour", ("red", "blue"), ("0", "1")))
    assert found is not None
    assert found.authors  # two groups, two classes
    rows = mark_table(done, {done[0].planned.name: found}).rows
    assert list(rows) == ["marks that tell the label"]  # of the other variant there is no run
    row = rows["marks that tell the label"]
    for key, value in {"accuracy": 0.5, "follows": 1.0, "misled": 1.0}.items():
        of = row[key]
        assert of is not None
        assert of.mean == pytest.approx(value)
    parity = row["demographic_parity"]
    assert parity is not None
    assert parity.mean == pytest.approx(1.0)
