"""What a study trains: `STUDIES` by data set, `VARIANTS` by what differs in the settings.

Every variant names all of the objective's settings that matter, so that a change of the
package's defaults changes no study. Steps are equal within a part of the study: what is compared
is trained equally long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from iavit.config import PRESETS, Config
from iavit.errors import UserError

Part = Literal["main", "ablation", "mark"]
Settings = Literal["ours", "authors"]
Budget = Literal["full", "small"]
Changes = Mapping[str, Any]

ALIGNMENTS = ("mmd", "kl", "mse", "attention_transfer", "cross_kernel")
GRADIENTS = {"detached": False, "joint": True}  # does the alignment move the extractor's attention
HEADS = ("mean", "positional")

# The paper's three terms, with true MMD and a target that stands still.
PAPER: Changes = {
    "interpreter": "joint",
    "simulation_weight": 1.0,
    "temperature": 3.0,
    "teacher_gradient": False,
    "alignment": "mmd",
    "alignment_weight": 1.0,
    "attention_gradient": False,
    "interpreter_head": "mean",
    "masked_share": 0.0,
    "masked_weight": 0.0,
    "effect_weight": 0.0,
    "effect_attention_weight": 0.0,
    "explain_from": 0.0,
}
PLAIN: Changes = {
    **PAPER,
    "interpreter": "none",
    "simulation_weight": 0.0,
    "alignment_weight": 0.0,
}
# The default: the interpreter after the predictor, on a branch of its own.
FAITHFUL: Changes = {
    **PAPER,
    "interpreter": "after",
    "alignment_weight": 0.0,
    "effect_weight": 2.0,
    "effect_attention_weight": 1.0,
    "effect_share": 0.25,
}
# The labels alone for a quarter of a run, until there is something to explain.
LATE: Changes = {"explain_from": 0.25}
SETTLED: Changes = {**PAPER, **LATE}
# The ablation's runs are short: in their first half the predictor learns to tell classes at all.
ABLATION: Changes = {**PAPER, "explain_from": 0.5}
MASKED: Changes = {"masked_share": 0.5, "masked_weight": 0.5}
# The objective of the notebooks as it is: the cross term alone, every gradient let through.
AUTHORS: Changes = {
    **PAPER,
    "alignment": "cross_kernel",
    "attention_gradient": True,
    "teacher_gradient": True,
    "interpreter_head": "positional",
}


@dataclass(frozen=True)
class Variant:
    """One kind of run: the part of the study it belongs to, what it is, what it changes.

    explained: whether every explainer is measured on it, or only what its part is about.
    """

    part: Part
    summary: str
    changes: Changes
    explained: bool = False

    @property
    def interprets(self) -> bool:
        """Whether the interpreter is trained at all."""
        return bool(self.changes["interpreter"] != "none")


def _grid() -> dict[str, Variant]:
    """Each alignment, detached and joint, with both heads."""
    return {
        f"{alignment}_{gradient}_{head}": Variant(
            "ablation",
            f"{alignment}, {gradient}, head {head}",
            {
                **ABLATION,
                "alignment": alignment,
                "attention_gradient": joint,
                "interpreter_head": head,
            },
        )
        for alignment in ALIGNMENTS
        for gradient, joint in GRADIENTS.items()
        for head in HEADS
    }


VARIANTS: dict[str, Variant] = {
    "plain": Variant("main", "plain ViT: cross-entropy only", PLAIN, explained=True),
    "iavit": Variant("main", "IA-ViT: the paper's three terms", PAPER, explained=True),
    "plain_masked": Variant("main", "plain ViT, masked training", {**PLAIN, **LATE, **MASKED}),
    "iavit_settled": Variant("main", "IA-ViT, explaining late", SETTLED),
    "iavit_masked": Variant(
        "main", "IA-ViT, explaining late, masked training", {**SETTLED, **MASKED}
    ),
    "iavit_faithful": Variant(
        "main", "IA-ViT, the interpreter after the predictor", FAITHFUL, explained=True
    ),
    "no_simulation": Variant(
        "ablation", "without simulation", {**ABLATION, "simulation_weight": 0.0}
    ),
    "no_alignment": Variant("ablation", "without alignment", {**ABLATION, "alignment_weight": 0.0}),
    **_grid(),
    "authors": Variant("ablation", "the notebooks' objective", AUTHORS),
    # A mark of the right colour in one scene of ten is chance: it tells nothing.
    "mark_chance": Variant("mark", "marks that tell nothing", {**FAITHFUL, "shortcut": 0.1}),
    "mark_shortcut": Variant("mark", "marks that tell the label", {**FAITHFUL, "shortcut": 0.95}),
}
REFERENCE = "mmd_detached_mean"  # what the others of the ablation are compared with


@dataclass(frozen=True)
class Study:
    """A data set's study: its settings, and its steps for each part.

    published: whether it starts from weights that timm publishes.
    """

    ours: Config
    steps: Mapping[Part, int]
    authors: Changes
    published: bool = False


_DIGITS_STEPS: Mapping[Part, int] = {"main": 2000, "ablation": 800, "mark": 1000}
_FASHION_STEPS: Mapping[Part, int] = {"main": 4000, "ablation": 1500}
SMALL_STEPS: dict[Part, int] = {"main": 200, "ablation": 100, "mark": 100}

# The optimiser of every notebook: 500 of 10,000 steps warm up.
NOTEBOOKS: Changes = {
    "optimizer": "sgd",
    "lr": 0.03,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "warmup": 0.05,
    "clip": 1.0,
    "batch_size": 64,
    "augment": "authors",
}
_FACES: Changes = {**NOTEBOOKS, "batch_size": 32, "augment": "none"}
_PETS: Changes = {**_FACES, "warmup": 0.1}  # 500 of 5,000


def _photographs(steps: int, authors: Changes) -> Study:
    """ViT-B/16 from ImageNet-21k, as in the notebooks. Our own settings are not measured yet."""
    backbone = {"backbone": "vit_base_patch16_224.augreg_in21k", "img_size": 224}
    ours = {**backbone, "batch_size": 64, "lr": 5e-5, "layer_decay": 0.75, "augment": "modern"}
    lengths: dict[Part, int] = {"main": steps, "ablation": steps}
    return Study(Config.from_flat(ours), lengths, authors, published=True)


STUDIES: dict[str, Study] = {
    "digits": Study(PRESETS["digits"], _DIGITS_STEPS, NOTEBOOKS),
    "fashion_mnist": Study(PRESETS["fashion_mnist"], _FASHION_STEPS, NOTEBOOKS),
    "cifar10": _photographs(10_000, NOTEBOOKS),
    "stl10": _photographs(10_000, NOTEBOOKS),
    "celeba": _photographs(10_000, _FACES),
    "dogs_vs_cats": _photographs(5_000, _PETS),
}

# What `--budget small` trains on photographs.
SMALL_BACKBONE: Changes = {"backbone": "vit_digits", "img_size": 32}
# Measured on no small budget and of no mark, since they ask for many passes an image.
SLOW = ("integrated_gradients", "smoothgrad", "rise", "occlusion", "kernel_shap")
# Measured of a variant whose part is not about explainers.
OF_INTERPRETER = ("interpreter", "contributions")


@dataclass(frozen=True)
class Choices:
    """What is asked of a study.

    root: where the data lie. weights: a file to start from, in place of published weights.
    """

    study: str
    seeds: tuple[int, ...] = (0,)
    settings: Settings = "ours"
    budget: Budget = "full"
    root: str | None = None
    weights: str | None = None

    @property
    def explained(self) -> int:
        """Test images on which explanations are measured."""
        return 200 if self.budget == "full" else 24

    @property
    def predicted(self) -> int | None:
        """Test images on which predictions are measured; None for all."""
        return None if self.budget == "full" else 500


@dataclass(frozen=True)
class Planned:
    """A run that is to be there: its name, and its settings in full."""

    name: str
    variant: str
    seed: int
    config: Config
    explainers: tuple[str, ...] = field(default=())

    @property
    def part(self) -> Part:
        return VARIANTS[self.variant].part


def check(choices: Choices) -> None:
    """Raises `UserError` for a study, settings, budget or file of weights that there is not."""
    known: dict[str, tuple[str, tuple[str, ...]]] = {
        "`name`": (choices.study, tuple(STUDIES)),
        "`settings`": (choices.settings, get_args(Settings)),
        "`budget`": (choices.budget, get_args(Budget)),
    }
    for parameter, (value, allowed) in known.items():
        if value not in allowed:
            raise UserError(f"{parameter} is '{value}'; it is one of {', '.join(allowed)}")
    if not choices.seeds:
        raise UserError("`seeds`: name at least one")
    if choices.weights is not None and not Path(choices.weights).exists():
        raise UserError(f"`weights` {choices.weights}: there is no such file; name one that is")


def plan(choices: Choices, explainers: Mapping[str, object]) -> list[Planned]:
    """Every run of a study, all of a seed before the next: what is cut short has whole seeds.

    explainers: names of all that there are.
    """
    check(choices)
    runs = []
    for seed in choices.seeds:
        for name, variant in VARIANTS.items():
            if variant.part not in STUDIES[choices.study].steps:
                continue
            runs.append(
                Planned(
                    f"{choices.study}-{name}-{seed}",
                    name,
                    seed,
                    config_of(choices, variant, seed),
                    _measured(choices, variant, explainers),
                )
            )
    return runs


def _measured(
    choices: Choices, variant: Variant, explainers: Mapping[str, object]
) -> tuple[str, ...]:
    """The explainers that are measured of a variant."""
    mark = variant.part == "mark"
    quick = mark or choices.budget == "small"
    return tuple(
        name
        for name in explainers
        if (variant.explained or mark or name in OF_INTERPRETER)
        and (variant.interprets or name not in OF_INTERPRETER)
        and not (quick and name in SLOW)
    )


def config_of(choices: Choices, variant: Variant, seed: int) -> Config:
    """A run's settings: the study's, then the notebooks' if asked for, then the variant's."""
    study = STUDIES[choices.study]
    small = choices.budget == "small"
    steps = (SMALL_STEPS if small else study.steps)[variant.part]
    settings: dict[str, Any] = {
        **study.ours.flat(),
        "data": choices.study,
        "root": choices.root,
        "weights": choices.weights,
        "pretrained": study.published and not small and choices.weights is None,
        "seed": seed,
    }
    if choices.settings == "authors":
        settings |= study.authors
    if small and study.published:
        settings |= SMALL_BACKBONE
    settings |= {
        "steps": steps,
        "validate_every": max(1, min(250, steps // 2)),
        "log_every": max(1, min(25, steps // 4)),
    }
    return Config.from_flat(settings | dict(variant.changes))
