from __future__ import annotations

import pytest

from iavit.experiments.tables import accuracy_table, as_csv, factor_table, markdown
from tests.experiments.made import measured


def test_a_choice_is_told_as_the_new_minus_the_old_over_matched_runs() -> None:
    done = [
        measured("mmd_detached_mean", 0, 0.5, 9),
        measured("mmd_joint_mean", 0, 0.2, 8),
        measured("attention_transfer_detached_positional", 0, 0.9, 7),
        measured("mmd_detached_positional", 0, 0.6, 7),
        measured("mmd_detached_mean", 1, 0.5, 9),
        measured("mmd_joint_mean", 1, 0.1, 9),
        measured("mmd_joint_mean", 2, 0.9, 9),  # of a seed that the other does not have
    ]
    rows = factor_table(done).rows
    joint = rows["joint instead of detached"]["difference"]
    assert joint is not None
    assert joint.count == 2
    assert joint.mean == pytest.approx(-0.35)
    for name, change in {
        "attention_transfer instead of mmd": 0.3,
        "head positional instead of mean": 0.1,
    }.items():
        of = rows[name]["difference"]
        assert of is not None
        assert of.count == 1
        assert of.mean == pytest.approx(change)
    accuracy = rows["joint instead of detached"]["accuracy"]
    assert accuracy is not None
    assert accuracy.mean == pytest.approx(-0.05)


def test_accuracy_is_compared_with_the_plain_vit_of_the_same_seed() -> None:
    done = [measured("plain", 0, 0.0, 9), measured("iavit", 0, 0.0, 7)]
    table = accuracy_table(done)
    change = table.rows["IA-ViT: the paper's three terms"]["minus_plain_images"]
    assert change is not None
    assert change.mean == pytest.approx(-0.2)
    assert table.rows["plain ViT: cross-entropy only"].get("interpreter_accuracy") is None
    assert "| 90.0 [" in markdown(table)
    assert "IA-ViT: the paper's three terms,minus_plain_images,-0.2," in as_csv(table)
