"""What a run consists of: the predictor first, then the interpreter that explains it.

In the default recipe the predictor is trained as any classifier is, and nothing that explains can
touch it. When it is done it stays as it is, and the interpreter learns from its answers. The
paper's joint training is a single stage.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from iavit.config import DEFAULT_EPOCHS, FEWEST_STEPS, Config, ObjectiveConfig
from iavit.model.iavit import IAViT


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    learns: which parts of the model; the others stay as they are.
    objective: the terms that they learn from.
    steps: optimiser steps. first_step: steps of the run before it. lr: peak learning rate.
    checkpoints: their folder below the run's.
    best_by: the validation metric whose lowest value chooses the weights that are kept.
    """

    learns: Literal["predictor", "interpreter", "both"]
    objective: ObjectiveConfig
    steps: int
    first_step: int
    lr: float
    checkpoints: str
    best_by: str

    @property
    def needs_labels(self) -> bool:
        return self.learns != "interpreter"


def stages(config: Config, images: int) -> tuple[Stage, ...]:
    """The stages of a run over so many training images, in their order."""
    objective, training = config.objective, config.training
    steps = predictor_steps(config, images)
    joint = objective.interpreter == "joint"
    first = Stage(
        "both" if joint else "predictor",
        objective if joint else labels_only(objective),
        steps,
        0,
        training.lr,
        "checkpoints",
        "val/cross_entropy",
    )
    second = Stage(
        "interpreter",
        objective,
        training.interpreter_steps or max(1, steps),
        steps,
        training.interpreter_lr,
        "checkpoints/interpreter",
        "val/loss",
    )
    return (
        *((first,) if steps else ()),
        *((second,) if objective.interpreter == "after" else ()),
    )


def labels_only(objective: ObjectiveConfig) -> ObjectiveConfig:
    """The objective without what is asked of the interpreter."""
    return replace(
        objective,
        simulation_weight=0.0,
        alignment_weight=0.0,
        effect_weight=0.0,
        effect_attention_weight=0.0,
    )


def predictor_steps(config: Config, images: int) -> int:
    """Optimiser steps of the predictor over so many training images.

    Where neither steps nor epochs are named, `DEFAULT_EPOCHS` passes and at least `FEWEST_STEPS`.
    """
    training = config.training
    if training.steps is not None:
        return training.steps
    each = max(1, images // (config.data.batch_size * training.accumulate))
    if training.epochs is None:
        return max(FEWEST_STEPS, DEFAULT_EPOCHS * each)
    return max(1, round(training.epochs * each))


def choose_what_learns(model: IAViT, stage: Stage) -> None:
    """Let the stage's parts of the model learn, and no others.

    What is frozen already in the extractor (see `finetune.freeze`) stays frozen.
    """
    if stage.learns == "interpreter":
        model.extractor.requires_grad_(False)
    explains = stage.learns != "predictor"
    model.interpreter.requires_grad_(explains)
    if model.branch is not None:
        model.branch.requires_grad_(explains)
