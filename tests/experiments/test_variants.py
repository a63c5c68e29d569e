from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from iavit.config import RECIPES, Config
from iavit.errors import UserError
from iavit.experiments.variants import (
    ABLATION,
    ALIGNMENTS,
    PAPER,
    SMALL_STEPS,
    STUDIES,
    VARIANTS,
    Choices,
    plan,
)

EXPLAINERS = dict.fromkeys(("interpreter", "contributions", "rollout", "rise", "random"))


def config(name: str, **choices: object) -> Config:
    runs = plan(replace(Choices("digits"), **choices), EXPLAINERS)  # type: ignore[arg-type]
    return next(run.config for run in runs if run.variant == name)


def test_the_grid_has_every_alignment_detached_and_joint_with_both_heads() -> None:
    seen = set()
    for name, variant in VARIANTS.items():
        if name.count("_") >= 2 and name.startswith(ALIGNMENTS):
            changed = variant.changes
            seen.add(
                (changed["alignment"], changed["attention_gradient"], changed["interpreter_head"])
            )
            assert {k: v for k, v in changed.items() if ABLATION[k] != v}.keys() <= {
                "alignment", "attention_gradient", "interpreter_head",
            }  # fmt: skip
    assert len(seen) == 5 * 2 * 2


def test_every_variant_names_all_of_the_objective_that_matters() -> None:
    for name, variant in VARIANTS.items():
        assert set(PAPER) <= set(variant.changes), name
        assert set(variant.changes) <= set(Config().flat()), name
    for name, of in VARIANTS.items():
        assert of.interprets == (not name.startswith("plain")), name


@pytest.mark.parametrize(
    ("variant", "recipe"),
    [
        ("iavit_faithful", "faithful"),
        ("iavit", "paper"),
        ("authors", "authors"),
        ("plain", "plain"),
    ],
)
def test_a_recipes_variant_is_trained_by_that_recipe(variant: str, recipe: str) -> None:
    """But for the weight of masked copies, of which there are none."""
    found = config(variant).objective
    assert found.masked_share == 0.0
    same = replace(found, objective=RECIPES[recipe].objective, masked_weight=0.5)
    assert same == RECIPES[recipe]


def test_a_plain_vit_is_cross_entropy_only() -> None:
    objective = config("plain").objective
    weights = (objective.simulation_weight, objective.alignment_weight, objective.path_weight)
    assert (*weights, objective.masked_share) == (0.0, 0.0, 0.0, 0.0)
    assert objective.interpreter == "none"


def test_what_is_compared_is_trained_equally_long() -> None:
    for study in STUDIES:
        for budget in ("full", "small"):
            steps: dict[str, set[int | None]] = {}
            for run in plan(Choices(study, budget=budget), EXPLAINERS):
                steps.setdefault(run.part, set()).add(run.config.training.steps)
            assert all(len(each) == 1 for each in steps.values())
            if budget == "small":
                assert {part: {SMALL_STEPS[part]} for part in steps} == steps  # type: ignore[index]


def test_the_authors_settings_are_the_notebooks(tmp_path: Path) -> None:
    told = config("iavit", study="celeba", settings="authors", root="x").flat()
    expected = {
        "optimizer": "sgd", "lr": 0.03, "momentum": 0.9, "weight_decay": 0.0, "clip": 1.0,
        "steps": 10_000, "batch_size": 32, "augment": "none", "img_size": 224, "pretrained": True,
    }  # fmt: skip
    assert {name: told[name] for name in expected} == expected
    assert told["warmup"] * told["steps"] == 500
    told = config("iavit", study="dogs_vs_cats", settings="authors").flat()
    assert (told["steps"], told["warmup"] * told["steps"]) == (5_000, 500)
    told = config("iavit", study="cifar10", settings="authors").flat()
    assert (told["batch_size"], told["augment"]) == (64, "authors")
    weights = tmp_path / "ViT-B_16.npz"
    weights.touch()
    given = config("iavit", study="cifar10", weights=str(weights))
    assert (given.model.weights, given.model.pretrained) == (str(weights), False)
    notebooks = config("authors", study="cifar10").objective
    assert (notebooks.alignment, notebooks.attention_gradient) == ("cross_kernel", True)
    assert notebooks.teacher_gradient


def test_explainers_that_a_run_has_and_can_afford() -> None:
    runs = {run.variant: run.explainers for run in plan(Choices("digits"), EXPLAINERS)}
    assert runs["plain"] == ("rollout", "rise", "random")
    assert runs["iavit"] == tuple(EXPLAINERS)
    assert runs["kl_joint_mean"] == ("interpreter", "contributions")
    assert runs["plain_masked"] == ()
    small = plan(Choices("digits", budget="small"), EXPLAINERS)
    assert not any("rise" in run.explainers for run in small)


def test_a_seed_is_whole_before_the_next_begins() -> None:
    runs = plan(Choices("digits", seeds=(3, 1)), EXPLAINERS)
    assert [run.seed for run in runs] == [3] * len(VARIANTS) + [1] * len(VARIANTS)
    assert len({run.name for run in runs}) == len(runs)
    assert runs[0].name == "digits-plain-3"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"study": "mnist"}, "digits, fashion_mnist"),
        ({"settings": "theirs"}, "`settings`"),
        ({"budget": "tiny"}, "`budget`"),
    ],
)
def test_what_there_is_not_is_refused(wrong: dict[str, str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        plan(replace(Choices("digits"), **wrong), EXPLAINERS)  # type: ignore[arg-type]
