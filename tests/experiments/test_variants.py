from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from iavit.config import PRESETS, RECIPES, Config
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
    weights = (objective.simulation_weight, objective.alignment_weight, objective.effect_weight)
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


@pytest.mark.parametrize(
    ("study", "steps"),
    [
        ("digits", {"main": 2000, "ablation": 800, "mark": 1000}),
        ("fashion_mnist", {"main": 4000, "ablation": 1500}),
        ("cifar10", {"main": 10_000, "ablation": 10_000}),
        ("stl10", {"main": 10_000, "ablation": 10_000}),
        ("celeba", {"main": 10_000, "ablation": 10_000}),
        ("dogs_vs_cats", {"main": 5_000, "ablation": 5_000}),
    ],
)
def test_how_long_a_study_trains_and_what_from(study: str, steps: dict[str, int]) -> None:
    assert dict(STUDIES[study].steps) == steps
    found = config("iavit", study=study).flat()
    photographs = study not in ("digits", "fashion_mnist")
    assert found["pretrained"] is STUDIES[study].published is photographs
    if photographs:
        ours = {"backbone": "vit_base_patch16_224.augreg_in21k", "img_size": 224, "lr": 5e-5}
        ours |= {"batch_size": 64, "layer_decay": 0.75, "augment": "modern", "optimizer": "adamw"}
        assert found == found | ours
    else:
        assert found["lr"] == PRESETS[study].training.lr
        assert found["backbone"] == PRESETS[study].model.backbone


def test_a_trial_of_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SMALL_STEPS == {"main": 200, "ablation": 100, "mark": 100}
    small = config("iavit", study="cifar10", budget="small")
    assert (small.model.backbone, small.model.img_size) == ("vit_digits", 32)
    assert small.model.pretrained is False
    assert config("iavit", budget="small").model == PRESETS["digits"].model
    every = {
        (budget, name): config(name, budget=budget).training
        for budget in ("full", "small")
        for name in ("iavit", "no_alignment")
    }
    assert {key: (of.validate_every, of.log_every) for key, of in every.items()} == {
        ("full", "iavit"): (250, 25), ("full", "no_alignment"): (250, 25),
        ("small", "iavit"): (100, 25), ("small", "no_alignment"): (50, 25),
    }  # fmt: skip
    monkeypatch.setitem(SMALL_STEPS, "main", 3)
    few = config("iavit", budget="small").training
    assert (few.steps, few.validate_every, few.log_every) == (3, 1, 1)
    full, small_choices = Choices("digits"), Choices("digits", budget="small")
    assert (full.explained, full.predicted) == (200, None)
    assert (small_choices.explained, small_choices.predicted) == (24, 500)


def test_what_each_variant_changes_of_the_papers_terms() -> None:
    ours = {name: {k: v for k, v in of.changes.items() if PAPER.get(k) != v}
            for name, of in VARIANTS.items()}  # fmt: skip
    late: dict[str, object] = {"explain_from": 0.25}
    masked: dict[str, object] = {"masked_share": 0.5, "masked_weight": 0.5}
    plain = {"interpreter": "none", "simulation_weight": 0.0, "alignment_weight": 0.0}
    faithful = {"interpreter": "after", "alignment_weight": 0.0, "effect_weight": 2.0}
    faithful |= {"effect_attention_weight": 1.0, "effect_share": 0.25}
    half: dict[str, object] = {"explain_from": 0.5}
    expected: dict[str, dict[str, object]] = {
        "plain": plain, "iavit": {}, "plain_masked": plain | late | masked, "iavit_settled": late,
        "iavit_masked": late | masked, "iavit_faithful": faithful,
        "no_simulation": half | {"simulation_weight": 0.0},
        "no_alignment": half | {"alignment_weight": 0.0},
        "kl_joint_positional": half | {"alignment": "kl", "attention_gradient": True,
                                       "interpreter_head": "positional"},
        "authors": {"alignment": "cross_kernel", "attention_gradient": True,
                    "teacher_gradient": True, "interpreter_head": "positional"},
        "mark_chance": faithful | {"shortcut": 0.1}, "mark_shortcut": faithful | {"shortcut": 0.95},
    }  # fmt: skip
    assert {name: ours[name] for name in expected} == expected
    explained = [name for name, of in VARIANTS.items() if of.explained]
    assert explained == ["plain", "iavit", "iavit_faithful"]
    assert PAPER == {
        "interpreter": "joint", "simulation_weight": 1.0, "temperature": 3.0,
        "teacher_gradient": False, "alignment": "mmd", "alignment_weight": 1.0,
        "attention_gradient": False, "interpreter_head": "mean", "masked_share": 0.0,
        "masked_weight": 0.0, "effect_weight": 0.0, "effect_attention_weight": 0.0,
        "explain_from": 0.0,
    }  # fmt: skip


def test_a_mark_is_shown_by_every_explainer_that_is_quick() -> None:
    runs = {run.variant: run for run in plan(Choices("digits"), EXPLAINERS)}
    assert runs["mark_shortcut"].explainers == ("interpreter", "contributions", "rollout", "random")
    assert runs["mark_shortcut"].part == "mark"
    slow = ("integrated_gradients", "smoothgrad", "rise", "occlusion", "kernel_shap")
    small = plan(Choices("digits", budget="small"), dict.fromkeys((*slow, "rollout")))
    assert {run.explainers for run in small if VARIANTS[run.variant].explained} == {("rollout",)}


def test_the_data_and_the_seed_of_a_run(tmp_path: Path) -> None:
    (run,) = (each for each in plan(Choices("stl10", seeds=(7,), root="r"), EXPLAINERS)
              if each.variant == "plain")  # fmt: skip
    assert (run.config.data.data, run.config.data.root, run.config.training.seed) == (
        "stl10",
        "r",
        7,
    )
    assert (run.seed, run.config.model.weights) == (7, None)
    with pytest.raises(UserError, match="`seeds`: name at least one"):
        plan(Choices("digits", seeds=()), EXPLAINERS)
    with pytest.raises(UserError, match=r"`weights` .*/none: there is no such file; name one"):
        plan(Choices("digits", weights=str(tmp_path / "none")), EXPLAINERS)
