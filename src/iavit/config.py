"""Every setting of a run. Light to import: the command line reads its options from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from iavit.errors import UserError
from iavit.settings import (
    AT_LEAST_0,
    AT_LEAST_1,
    BELOW_1,
    FACTOR,
    POSITIVE,
    PROCESSES,
    SEED,
    SHARE,
    check,
    option,
)

T = TypeVar("T")


@dataclass(frozen=True)
class DataConfig:
    """Data"""

    data: str = option("digits", "data set, as `iavit datasets` lists them")
    root: str | None = option(None, "where its files lie, for a data set that has files")
    batch_size: int = option(64, "images a step", AT_LEAST_1)
    workers: int = option(0, "loading processes", PROCESSES)
    augment: Literal["none", "light", "authors", "modern"] = option(
        "none", "random crops as the authors take them, or those with flips and RandAugment"
    )
    bad_images: Literal["error", "skip"] = option(
        "error", "files that cannot be read: stop, or leave out and list in RUN/bad_images.txt"
    )
    pixel_range: str | None = option(
        None, "grey files of more than 8 bits: the values that are black and white, LOW,HIGH"
    )
    mean: str | None = option(
        None, "of each channel from 0 to 1, that the classifier was trained with: R,G,B"
    )
    std: str | None = option(None, "standard deviation likewise: R,G,B")
    cache: str | None = option(None, "folder that keeps image files decoded, for later passes")
    shortcut: float = option(
        0.0,
        "digits: plant a mark whose colour tells the label in this share of training scenes",
        SHARE,
    )
    target_attribute: str = option("Gray_Hair", "celeba: what is predicted")
    sensitive_attribute: str = option("Male", "celeba: whose groups are compared")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ModelConfig:
    """Model"""

    backbone: str = option("vit_small_patch16_224", "timm vision transformer")
    img_size: int | None = option(None, "pixels a side; the backbone's own by default", AT_LEAST_1)
    pretrained: bool = option(False, "start from timm's published weights")
    weights: str | None = option(
        None, "start from a file: safetensors, .pth or JAX .npz, or a folder with one"
    )
    classifier: str | None = option(
        None,
        "explain what this file of torch.export or TorchScript answers; --backbone is then the "
        "interpreter's",
    )
    interpreter_head: Literal["mean", "positional"] = option(
        "mean", "interpreter's head: `positional` is the authors'"
    )
    branch_width: int | None = option(
        None,
        "channels of the interpreter's own branch: a quarter of the backbone's, at least 64; "
        "0 for none",
        AT_LEAST_0,
    )
    drop_path: float = option(0.0, "stochastic depth in the backbone", BELOW_1)

    def __post_init__(self) -> None:
        check(self)
        if self.pretrained and self.weights is not None:
            raise UserError("`pretrained` and `weights`: give one of the two")
        if self.classifier is not None and (self.pretrained or self.weights is not None):
            raise UserError("`classifier` stands for itself; leave `weights` and `pretrained` out")


@dataclass(frozen=True)
class ObjectiveConfig:
    """Objective"""

    objective: Literal["faithful", "paper", "authors", "plain"] = option(
        "faithful", "recipe that sets all the weights below; any of them given overrides it"
    )
    interpreter: Literal["after", "joint", "none"] = option(
        "after",
        "train it after the predictor, on a branch of its own; jointly, as in the paper; or not",
    )
    simulation_weight: float = option(1.0, "weight of imitating the predictor", AT_LEAST_0)
    temperature: float = option(3.0, "temperature of the imitation", POSITIVE)
    teacher_gradient: bool = option(False, "let the imitation move the predictor too")
    alignment: Literal["mmd", "kl", "mse", "attention_transfer", "cross_kernel"] = option(
        "mmd", "distance between the interpreter's attention and the extractor's"
    )
    alignment_weight: float = option(0.0, "weight of that distance", AT_LEAST_0)
    attention_gradient: bool = option(False, "let the alignment move the extractor too")
    label_smoothing: float = option(
        0.0, "label smoothing of the predictor's loss in training", BELOW_1
    )
    masked_share: float = option(
        0.0,
        "share of each batch that the predictor also sees with random patches missing: it then "
        "answers better on partial images, and costs accuracy (docs/method.md)",
        SHARE,
    )
    masked_weight: float = option(0.5, "weight of the labels on those images", AT_LEAST_0)
    effect_weight: float = option(
        2.0,
        "weight of the contributions following what each patch does to the predictor's answer",
        AT_LEAST_0,
    )
    effect_attention_weight: float = option(
        1.0, "weight of the attention following the same", AT_LEAST_0
    )
    effect_share: float = option(
        0.25, "share of each batch on which that is sampled; 0 for none", SHARE
    )
    explain_from: float = option(
        0.0, "joint: share of the steps that only learn the labels; all other terms follow", SHARE
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class TrainingConfig:
    """Training"""

    steps: int | None = option(
        None,
        "optimiser steps of the predictor, 0 to keep one as it is; without these and --epochs "
        "10 passes, at least 500",
        AT_LEAST_0,
    )
    interpreter_steps: int | None = option(
        None,
        "optimiser steps of the interpreter, after the predictor; as many by default",
        AT_LEAST_1,
    )
    epochs: float | None = option(None, "passes over the training images", POSITIVE)
    optimizer: Literal["adamw", "sgd"] = option("adamw", "optimiser")
    lr: float = option(1e-3, "peak learning rate", POSITIVE)
    interpreter_lr: float = option(2e-3, "peak learning rate of the interpreter", POSITIVE)
    weight_decay: float = option(0.05, "weight decay, on matrices only", AT_LEAST_0)
    momentum: float = option(0.9, "momentum of sgd", BELOW_1)
    warmup: float = option(0.05, "share of the steps that warms up; cosine to 0 after it", SHARE)
    clip: float = option(1.0, "largest gradient norm; 0 for none", AT_LEAST_0)
    freeze: bool = option(False, "train the classifier and the interpreter alone")
    unfreeze_last: int = option(
        0, "with --freeze: how many of the last blocks to train as well", AT_LEAST_0
    )
    layer_decay: float = option(1.0, "learning rate of a block over that of the next one", FACTOR)
    mixup: float = option(0.0, "alpha of mixup; 0 for none", AT_LEAST_0)
    cutmix: float = option(0.0, "alpha of cutmix; 0 for none", AT_LEAST_0)
    ema: float = option(
        0.0, "decay of a moving average of the weights, validated and saved", BELOW_1
    )
    accumulate: int = option(1, "batches an optimiser step", AT_LEAST_1)
    precision: Literal["32", "bf16", "16"] = option("32", "arithmetic, mixed below 32 bits")
    accelerator: str = option("auto", "cpu, gpu, mps, ... as lightning names them")
    devices: str = option("1", "how many devices, or auto for all")
    strategy: str = option("auto", "ddp, fsdp, ... as lightning names them")
    validate_every: int = option(
        250, "optimiser steps between validations and checkpoints", AT_LEAST_1
    )
    log_every: int = option(25, "optimiser steps between rows of metrics.csv", AT_LEAST_1)
    seed: int = option(0, "fixes the scenes, weights and order of a run", SEED)

    def __post_init__(self) -> None:
        check(self)
        if self.steps is not None and self.epochs is not None:
            raise UserError("`steps` and `epochs`: give one of the two")
        if self.unfreeze_last and not self.freeze:
            raise UserError("`unfreeze_last`: give `freeze` with it")


# The objectives by name. `faithful` is the default.
RECIPES: dict[str, ObjectiveConfig] = {
    "faithful": ObjectiveConfig(),
    # The three terms of arXiv 2309.08035, with true MMD and a target that stands still.
    "paper": ObjectiveConfig(
        "paper",
        interpreter="joint",
        alignment_weight=1.0,
        effect_weight=0.0,
        effect_attention_weight=0.0,
    ),
    # What the authors' notebooks compute: the cross term alone, every gradient let through. Their
    # interpreter's head is `positional`, a setting of the model.
    "authors": ObjectiveConfig(
        "authors",
        interpreter="joint",
        teacher_gradient=True,
        alignment="cross_kernel",
        alignment_weight=1.0,
        attention_gradient=True,
        effect_weight=0.0,
        effect_attention_weight=0.0,
    ),
    # The labels alone: an ordinary classifier, whose interpreter is never trained.
    "plain": ObjectiveConfig(
        "plain",
        interpreter="none",
        simulation_weight=0.0,
        effect_weight=0.0,
        effect_attention_weight=0.0,
    ),
}


@dataclass(frozen=True)
class Config:
    """All settings of a run, in groups; flat in YAML and on the command line."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.model.classifier is None:
            return
        if self.training.steps != 0:
            raise UserError("`classifier`: it stays as it is; set `steps` to 0 (iavit attach does)")
        if self.model.img_size is None:
            raise UserError("`classifier`: say with `img_size` how many pixels a side it reads")
        if self.objective.interpreter != "after" or self.objective.alignment_weight:
            raise UserError(
                "`classifier`: its interpreter learns from answers alone, after it; leave "
                "`interpreter` at after, and `alignment_weight`, which reads attention, at 0"
            )

    def flat(self) -> dict[str, Any]:
        """Option name to value."""
        return {key: value for group in asdict(self).values() for key, value in group.items()}

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Config:
        """The reverse of `flat`; names of no setting are ignored.

        A setting that is missing takes its default: of the objective that of the recipe which
        `objective` names.

        Raises `UserError` for a value of the wrong type or out of range.
        """

        def group(defaults: T) -> T:
            names = [f.name for f in fields(defaults)]  # type: ignore[arg-type]
            given = {name: values[name] for name in names if name in values}
            return replace(defaults, **given)  # type: ignore[type-var]

        recipe = RECIPES.get(str(values.get("objective")), ObjectiveConfig())
        return cls(
            group(DataConfig()), group(ModelConfig()), group(recipe), group(TrainingConfig())
        )


# The settings that `iavit train --data NAME` starts from; any option given overrides them.
PRESETS: dict[str, Config] = {
    "digits": Config(
        data=DataConfig("digits", batch_size=48),
        model=ModelConfig(backbone="vit_digits", img_size=32),
        training=TrainingConfig(steps=4400, lr=2e-3),
    ),
    "fashion_mnist": Config(
        data=DataConfig("fashion_mnist", batch_size=64),
        model=ModelConfig(backbone="vit_digits", img_size=28),
        training=TrainingConfig(steps=8000, lr=3e-3),
    ),
    # Photographs of 32 pixels from nothing: `--preset cifar10` for a folder of one's own.
    "cifar10": Config(
        data=DataConfig("cifar10", batch_size=64, augment="light"),
        model=ModelConfig(backbone="vit_photos", img_size=32),
        training=TrainingConfig(steps=9000, interpreter_steps=6000, lr=2e-3),
    ),
}


# Of a training whose length is not named: so many passes, and no fewer steps. A guess that leaves
# no one with three steps over 200 images; neither number was searched for.
DEFAULT_EPOCHS, FEWEST_STEPS = 10, 500
FINE_TUNING_RATE = 1e-4  # peak learning rate from given weights: what is learned stays
SMALL = ModelConfig(backbone="vit_digits", img_size=64)  # what trains without a GPU, from nothing


def starting_point(
    data: str = "digits",
    objective: str | None = None,
    preset: str | None = None,
    *,
    weights: bool = False,
    small: bool = False,
) -> Config:
    """What `iavit train` starts from: the data set's preset, with another recipe if one is named.

    A set without a preset starts with the learning rate of fine-tuning where there are `weights`,
    and else with a `small` backbone where that is all that can be trained.
    preset: the data set whose preset to take instead.

    Raises `UserError` for a preset that there is not.
    """
    if preset is not None and preset not in PRESETS:
        raise UserError(f"`preset` is '{preset}'; there are {', '.join(PRESETS)}")
    name = preset or data
    config = PRESETS.get(name, Config())
    config = replace(config, data=replace(config.data, data=data))
    if name not in PRESETS and weights:
        config = replace(config, training=replace(config.training, lr=FINE_TUNING_RATE))
    elif name not in PRESETS and small:
        config = replace(config, model=SMALL)
    if objective in RECIPES:
        config = replace(config, objective=RECIPES[objective])
    return config
