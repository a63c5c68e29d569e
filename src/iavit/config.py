"""Everything a run can be told. Light to import: the command line reads its options from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

T = TypeVar("T")


def _option(default: T, told: str) -> T:
    """A field with its default and the line that `--help` shows."""
    value: T = field(default=default, metadata={"help": told})
    return value


@dataclass(frozen=True)
class DataConfig:
    """Data"""

    data: str = _option("digits", "data set, as `iavit datasets` lists them")
    root: str | None = _option(None, "where its files lie, for a data set that has files")
    batch_size: int = _option(64, "images a step")
    workers: int = _option(0, "loading processes")
    augment: Literal["none", "authors", "modern"] = _option(
        "none", "random crops as the authors take them, or those with flips and RandAugment"
    )
    bad_images: Literal["error", "skip"] = _option(
        "error", "files that cannot be read: stop, or leave out and list in RUN/bad_images.txt"
    )
    pixel_range: str | None = _option(
        None, "grey files of more than 8 bits: the values that are black and white, LOW,HIGH"
    )
    cache: str | None = _option(None, "folder that keeps image files decoded, for later passes")
    shortcut: float = _option(
        0.0, "digits: plant a mark whose colour tells the label in this share of training scenes"
    )
    target_attribute: str = _option("Gray_Hair", "celeba: what is predicted")
    sensitive_attribute: str = _option("Male", "celeba: whose groups are compared")


@dataclass(frozen=True)
class ModelConfig:
    """Model"""

    backbone: str = _option("vit_small_patch16_224", "timm vision transformer")
    img_size: int | None = _option(None, "pixels a side; the backbone's own by default")
    pretrained: bool = _option(False, "start from timm's published weights")
    weights: str | None = _option(None, "start from a file: safetensors, .pth or JAX .npz")
    interpreter_head: Literal["mean", "positional"] = _option(
        "mean", "interpreter's head: `positional` is the authors'"
    )
    attention_layers: int | None = _option(
        None, "how many of the last layers the extractor's attention is averaged over; all"
    )
    attention_queries: Literal["patches", "class"] = _option(
        "patches", "whose attention that is: the patches' or the class token's"
    )
    drop_path: float = _option(0.0, "stochastic depth in the backbone")


@dataclass(frozen=True)
class ObjectiveConfig:
    """Objective"""

    simulation_weight: float = _option(1.0, "weight of imitating the predictor")
    temperature: float = _option(3.0, "temperature of the imitation")
    teacher_gradient: bool = _option(False, "let the imitation move the predictor too")
    alignment: Literal["mmd", "mmd_unbiased", "kl", "mse", "attention_transfer", "cross_kernel"] = (
        _option("mmd", "how the interpreter's attention follows the extractor's")
    )
    alignment_weight: float = _option(1.0, "weight of that alignment")
    label_smoothing: float = _option(0.0, "label smoothing of the predictor's loss in training")
    attention_gradient: bool = _option(False, "let the alignment move the extractor's too")
    masked_share: float = _option(
        0.5, "share of each batch also shown with random patches missing; 0 for none"
    )
    masked_weight: float = _option(0.5, "weight of the labels on those images")
    subset_weight: float = _option(
        2.0, "weight of the attention telling what each of those parts carries"
    )
    subset_simulation_weight: float = _option(
        0.0, "weight of the contributions on each of those parts imitating the predictor"
    )
    path_weight: float = _option(
        4.0, "weight of the contributions following the predictor's gradient over visibility"
    )
    path_share: float = _option(0.25, "share of each batch that this is asked of; 0 for none")
    explain_from: float = _option(
        0.25, "share of the steps that only learn the labels; all else begins after it"
    )


@dataclass(frozen=True)
class TrainingConfig:
    """Training"""

    steps: int | None = _option(None, "optimiser steps; give these or --epochs")
    epochs: float | None = _option(None, "passes over the training images")
    optimizer: Literal["adamw", "sgd"] = _option("adamw", "optimiser")
    lr: float = _option(1e-3, "peak learning rate")
    weight_decay: float = _option(0.05, "weight decay, on matrices only")
    momentum: float = _option(0.9, "momentum of sgd")
    warmup: float = _option(0.05, "share of the steps that warms up; cosine to 0 after it")
    clip: float = _option(1.0, "largest gradient norm; 0 for none")
    freeze: bool = _option(False, "train the classifier and the interpreter alone")
    unfreeze_last: int = _option(0, "with --freeze: train the last blocks, too, so many")
    layer_decay: float = _option(1.0, "learning rate of a block over that of the next one")
    mixup: float = _option(0.0, "alpha of mixup; 0 for none")
    cutmix: float = _option(0.0, "alpha of cutmix; 0 for none")
    ema: float = _option(0.0, "decay of a moving average of the weights, validated and saved")
    accumulate: int = _option(1, "batches an optimiser step")
    precision: Literal["32", "bf16", "16"] = _option("32", "arithmetic, mixed below 32 bits")
    accelerator: str = _option("auto", "cpu, gpu, mps, ... as lightning names them")
    devices: str = _option("1", "how many devices, or auto for all")
    strategy: str = _option("auto", "ddp, fsdp, ... as lightning names them")
    validate_every: int = _option(250, "optimiser steps between validations and checkpoints")
    log_every: int = _option(25, "optimiser steps between rows of metrics.csv")
    seed: int = _option(0, "fixes the scenes, weights and order of a run")


@dataclass(frozen=True)
class Config:
    """All settings of a run, in groups; flat in YAML and on the command line."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def flat(self) -> dict[str, Any]:
        """Option name to value."""
        return {key: value for group in asdict(self).values() for key, value in group.items()}

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Config:
        """The reverse of `flat`; a name that is missing takes its default, others are ignored."""

        def group(kind: type[T]) -> T:
            names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
            return kind(**{name: values[name] for name in names if name in values})

        return cls(
            group(DataConfig), group(ModelConfig), group(ObjectiveConfig), group(TrainingConfig)
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
        objective=ObjectiveConfig(explain_from=0.1),
        training=TrainingConfig(steps=8000, lr=3e-3),
    ),
}
