from __future__ import annotations

import pytest
import torch

from iavit.config import Config
from iavit.evaluate.evaluation import CurveBands, Evaluation, Faithfulness, Figure, Provenance
from iavit.evaluate.fairness import Names
from iavit.experiments.audits import fairness_of, mark_table
from iavit.experiments.tables import Measured, accuracy_table, as_csv, factor_table, markdown
from iavit.experiments.variants import Planned


def measured(
    variant: str, seed: int, difference: float, right: int, group: list[int] | None = None
) -> Measured:
    """Ten images of two classes, the first `right` of them predicted rightly."""
    labels = torch.arange(10) % 2
    predicted = torch.where(torch.arange(10) < right, labels, 1 - labels)
    predictions = {"image": torch.arange(10), "label": labels, "predictor": predicted}
    if not variant.startswith("plain"):
        predictions["interpreter"] = predicted
    if group is not None:
        predictions["group"] = torch.tensor(group)
    figure = Figure(difference, difference - 0.1, difference + 0.1)
    flat = (0.0, 1.0)
    evaluation = Evaluation(
        dataset="digits",
        split="test",
        images=10,
        images_left_out=0,
        explained_class="predicted",
        score="probability",
        provenance=Provenance("0.1.0", None, seed, "2.13.0", "cpu", 1.0),
        prediction={},
        faithfulness={
            "interpreter": Faithfulness(
                {"difference": figure}, 0.001, CurveBands(flat, flat, flat, flat, flat, flat, flat)
            )
        },
        localisation={},
        comparisons=(),
    )
    run = Planned(f"digits-{variant}-{seed}", variant, seed, Config())
    return Measured(run, predictions, evaluation)


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


def test_what_follows_the_mark_is_counted() -> None:
    colours = [0, 1, 0, 1, 0, 0, 1, 0, 1, 0]  # 0 to 4 agree with the label, the rest do not
    done = [measured("mark_shortcut", 0, 0.0, 5, colours)]  # the rest is wrong, as the colour is
    found = fairness_of(done[0], Names("mark colour", ("red", "blue"), ("0", "1")))
    assert found is not None
    assert found.authors  # two groups, two classes
    row = mark_table(done, {done[0].run.name: found}).rows["marks that tell the label"]
    for key, value in {"accuracy": 0.5, "follows": 1.0, "misled": 1.0}.items():
        of = row[key]
        assert of is not None
        assert of.mean == pytest.approx(value)
    parity = row["demographic_parity"]
    assert parity is not None
    assert parity.mean == pytest.approx(1.0)
