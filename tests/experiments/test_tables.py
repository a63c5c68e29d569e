from __future__ import annotations

from dataclasses import replace

import pytest

from iavit.evaluate.evaluation import Figure
from iavit.experiments.seeds import Estimate
from iavit.experiments.tables import (
    Kind,
    Table,
    accuracy_table,
    as_csv,
    explainer_table,
    factor_table,
    markdown,
    objective_table,
)
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


def test_a_table_as_markdown_and_as_csv() -> None:
    rows = {"r|1": {"a": Estimate(0.5, 0.4, 0.6, None, 1), "b": None}}
    columns: dict[str, tuple[str, Kind]] = {"a": ("A|B", "percent"), "b": ("B", "number")}
    table = Table("n", "Title", "Caption.", "first", columns, rows)
    assert markdown(table) == (
        "## Title\n\nCaption.\n\n| first | A\\|B | B |\n| --- | --- | --- |\n"
        "| r\\|1 | 50.0 [40.0, 60.0] % | – |\n"
    )
    assert as_csv(table) == "first,measure,mean,low,high,spread,count\nr|1,a,0.5,0.4,0.6,,1\n"


def mean(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.mean


PLAIN, OURS = "plain ViT: cross-entropy only", "IA-ViT: the paper's three terms"


def test_accuracy_over_seeds_and_over_images() -> None:
    done = [measured("plain", seed, 0.0, right) for seed, right in ((0, 9), (1, 8))]
    done += [measured("iavit", seed, 0.0, right) for seed, right in ((0, 7), (1, 8), (2, 3))]
    done.append(measured("no_simulation", 0, 0.0, 1))
    table = accuracy_table(done)
    assert list(table.rows) == [PLAIN, OURS]
    plain, ours = table.rows[PLAIN], table.rows[OURS]
    assert (mean(plain["accuracy"]), mean(ours["accuracy"])) == pytest.approx((0.85, 0.6))
    assert (mean(ours["interpreter_accuracy"]), mean(ours["agreement"])) == pytest.approx(
        (0.6, 1.0)
    )
    assert (plain["agreement"], plain["minus_plain"], plain["minus_plain_images"]) == (None,) * 3
    assert mean(ours["minus_plain"]) == pytest.approx(-0.1)
    assert mean(ours["minus_plain_images"]) == pytest.approx(-0.1)
    assert {key: kind for key, (_, kind) in table.columns.items()} == {
        "accuracy": "percent", "interpreter_accuracy": "percent", "agreement": "percent",
        "minus_plain": "points", "minus_plain_images": "points",
    }  # fmt: skip
    alone = accuracy_table([run for run in done if run.planned.seed == 0])
    assert "minus_plain" not in alone.columns  # of one seed the images alone tell
    assert "minus_plain_images" in alone.columns


def test_what_is_compared_with_the_reference_of_the_ablation() -> None:
    done = [
        measured("mmd_detached_mean", 0, 0.5, 9), measured("no_alignment", 0, 0.75, 7),
        measured("no_alignment", 1, 0.25, 7), measured("iavit", 0, 0.9, 9),
    ]  # fmt: skip
    table = objective_table(done, "ablation", "mmd_detached_mean", "A title")
    assert (table.name, table.title) == ("ablation", "A title")
    assert "against “mmd, detached, head mean”" in table.caption
    reference, other = table.rows["mmd, detached, head mean"], table.rows["without alignment"]
    assert (mean(reference["difference"]), mean(other["difference"])) == pytest.approx((0.5, 0.5))
    assert reference["difference_change"] is None
    assert mean(other["difference_change"]) == pytest.approx(0.25)  # of the seed that both have
    assert mean(other["agreement_change"]) == 0.0
    assert table.columns["agreement_change"] == ("agreement, change", "points")
    assert table.columns["difference_change"][1] == "change"
    assert "↑" not in table.columns["difference_change"][0]
    assert "pointing_game_change" not in table.columns  # of which nothing is known
    assert objective_table(done, "main", "iavit", "T").name == "terms"


def test_explainers_are_ranked_by_their_difference() -> None:
    run = measured("iavit_faithful", 0, 0.25, 9)
    (faithful,) = run.evaluation.faithfulness.values()
    figures = {"rise": 0.5, "random": -0.125, "rollout": None}
    others = {
        name: replace(
            faithful, figures={} if value is None else {"difference": Figure(value, 0, 1)}
        )
        for name, value in figures.items()
    }
    known = {"rollout": others["rollout"], **run.evaluation.faithfulness, **others}
    table = explainer_table([replace(run, evaluation=replace(run.evaluation, faithfulness=known))],
                            "iavit_faithful")  # fmt: skip
    assert list(table.rows) == ["rise", "interpreter", "random", "rollout"]
    assert table.name == "explainers-iavit-faithful"
    assert table.title == "Explainers on: IA-ViT, the interpreter after the predictor"
    assert list(table.columns) == ["difference"]


def test_what_leaving_a_term_out_changes() -> None:
    done = [
        measured("mmd_detached_mean", 0, 0.5, 9), measured("no_simulation", 0, 0.125, 4),
        measured("kl_detached_mean", 0, 0.75, 9), measured("authors", 0, 0.3, 9),
    ]  # fmt: skip
    table = factor_table(done)
    assert list(table.rows) == ["kl instead of mmd", "without simulation"]
    assert mean(table.rows["without simulation"]["difference"]) == pytest.approx(-0.375)
    assert mean(table.rows["without simulation"]["accuracy"]) == pytest.approx(-0.5)
    assert mean(table.rows["kl instead of mmd"]["difference"]) == pytest.approx(0.25)
    kinds = {key: kind for key, (_, kind) in table.columns.items()}
    assert (kinds["accuracy"], kinds["difference"]) == ("points", "change")
