"""Tables by group, of counts made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iavit.evaluate.evaluation import Fairness, Figure
from iavit.evaluate.fairness import Names
from iavit.experiments.audits import (
    explanation_fairness_table,
    fairness_of,
    fairness_table,
    mark_table,
)
from iavit.experiments.seeds import Estimate
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


SCENES = [0, 1, 0, 1, 0, 0, 1, 0, 1, 0]
NAMES = Names("eye", ("left", "right"), ("0", "1"))


def mean(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.mean


def test_what_a_mark_does_is_a_share_of_the_images_it_can_mislead() -> None:
    """Three of ten are right; the colour is another class's on 5 to 9, and 3 and 4 are missed."""
    done = [measured("mark_chance", 0, 0.125, 3, SCENES)]
    found = fairness_of(done[0], NAMES)
    assert found is not None
    table = mark_table(done, {done[0].planned.name: found})
    (row,) = table.rows.values()
    assert list(table.rows) == ["marks that tell nothing"]
    assert mean(row["accuracy"]) == pytest.approx(0.3)
    follows = (3 + 5) / 10  # 0 to 2, where it is the label, and all where it is not
    assert mean(row["follows"]) == pytest.approx(follows)
    assert mean(row["misled"]) == pytest.approx(1.0)
    for key in ("pointing_game", "evidence_mass", "shortcut_mass", "random_shortcut_mass"):
        assert row[key] is None
    assert {key: kind for key, (_, kind) in table.columns.items()} == {
        "accuracy": "percent", "follows": "percent", "misled": "percent",
        "demographic_parity": "number", "pointing_game": "number", "evidence_mass": "number",
        "shortcut_mass": "number", "random_shortcut_mass": "number",
    }  # fmt: skip
    assert mark_table([measured("iavit", 0, 0.0, 3, SCENES)], {}).rows == {}


def test_gaps_between_groups_are_a_row_a_variant() -> None:
    """Of the ablation there is none. On the left 2 of 6 are right, on the right 1 of 4."""
    runs = [measured(name, 0, 0.0, 3, SCENES) for name in ("plain", "iavit", "no_simulation")]
    found = {}
    for run in runs:
        of = fairness_of(run, NAMES)
        assert of is not None
        found[run.planned.name] = of
    table = fairness_table(runs, found, "eye")
    assert table.title == "Fairness of predictions by eye"
    assert list(table.rows) == ["plain ViT: cross-entropy only", "IA-ViT: the paper's three terms"]
    plain, ours = table.rows.values()
    assert mean(ours["accuracy"]) == pytest.approx(1 / 3 - 1 / 4)
    assert mean(ours["worst"]) == pytest.approx(0.25)
    assert (plain["agreement"], mean(ours["agreement"])) == (None, 0.0)
    assert table.columns["worst"] == ("accuracy of the worst group", "percent")
    assert "exchanged: its “DP” is a gap of precision." in table.caption
    authors = list(found["digits-iavit-0"].authors)
    assert authors
    for name in authors:
        assert table.columns[name] == (f"notebook's “{name}”", "number")
        assert mean(ours[name]) == pytest.approx(found["digits-iavit-0"].authors[name])
    only = fairness_table(runs, {runs[0].planned.name: found[runs[0].planned.name]}, "eye")
    assert list(only.rows) == ["plain ViT: cross-entropy only"]


def test_the_notebooks_figures_are_of_two_classes_and_two_groups() -> None:
    assert fairness_of(measured("iavit", 0, 0.0, 3), NAMES) is None
    three = Names("eye", ("left", "right", "none"), ("0", "1"))
    for names, groups in (
        (replace(NAMES, classes=("0", "1", "2")), SCENES),
        (three, [0, 1, 2] * 3 + [0]),
    ):
        found = fairness_of(measured("iavit", 0, 0.0, 3, groups), names)
        assert found is not None
        assert not found.authors
        run = measured("iavit", 0, 0.0, 3, groups)
        assert "“" not in fairness_table([run], {run.planned.name: found}, "eye").caption


def test_gaps_of_explanations_are_a_row_a_variant_and_explainer() -> None:
    gaps = {"interpreter": {"difference": Figure(0.25, 0.125, 0.5)}, "random": {}}
    fairness = Fairness("eye", {}, {}, None, explanation_gaps=gaps)
    run = measured("iavit", 0, 0.0, 3, SCENES)
    explained = replace(run, evaluation=replace(run.evaluation, fairness=fairness))
    other = measured("plain", 0, 0.0, 3, SCENES)  # whose explanations were not measured
    found = {explained.planned.name: fairness, other.planned.name: fairness}
    table = explanation_fairness_table([explained, other], found, "eye")
    (name,) = table.rows
    assert name == "IA-ViT: the paper's three terms: interpreter"
    assert table.columns.keys() == {"difference"}
    assert table.rows[name]["difference"] == Estimate(0.25, 0.125, 0.5, None, 1)
    assert table.title == "Fairness of explanations by eye"
