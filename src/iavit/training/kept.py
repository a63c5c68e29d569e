"""A predictor that is kept as it is: its weights are all there, and tell its classes."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor

from iavit.config import Config, ModelConfig, ObjectiveConfig
from iavit.errors import UserError
from iavit.model.black_box import check_classes
from iavit.model.checkpoints import Loaded, classes_of
from iavit.model.explainable import evaluating
from iavit.model.iavit import IAViT
from iavit.model.programs import read_program
from iavit.model.published import numbered, read_published
from iavit.objective.effects import patch_effects
from iavit.objective.step import parts_read

TRIED = 4  # images that a predictor is tried on before it is explained


def class_names(config: Config, labelled: tuple[str, ...]) -> tuple[str, ...]:
    """The classes by the number of the predictor's logit: the data set's, or else its own.

    labelled: the data set's classes; empty where its images have no labels, which is enough for
        a predictor that is kept.

    Raises `UserError` for labels that the predictor does not have, or needs and lacks.
    """
    if config.training.steps != 0:
        if labelled:
            return labelled
        raise UserError(
            f"`root` {config.data.root}: has no subfolders, so its images have no labels; put the "
            "images of each class into one of its own, or explain a classifier that you have: "
            "`iavit attach`"
        )
    if not (config.model.weights or config.model.pretrained or config.model.classifier):
        raise UserError(
            "`steps` is 0: a predictor that is not trained has to come from somewhere; name its "
            "`weights`, give `pretrained`, or train it first (iavit train)"
        )
    own = _own_classes(config.model)
    if not labelled:
        if own:
            return own
        raise UserError(
            f"{config.model.weights or config.model.backbone}: there is no head that tells classes "
            "apart; name `weights` of a classifier"
        )
    if own and len(own) != len(labelled):
        raise UserError(
            f"the classifier tells {len(own)} classes apart, and the images are of "
            f"{len(labelled)}: {_few(labelled)}; name its own images, or any without labels: "
            "a folder without subfolders"
        )
    if own and own != labelled and own != numbered(len(own)):
        raise UserError(
            f"the classifier's classes are {_few(own)}, and the images' {_few(labelled)}; name "
            "the folders by its classes, or take images without labels: a folder without subfolders"
        )
    return labelled


def _own_classes(model: ModelConfig) -> tuple[str, ...]:
    """As the weights or answers tell them; empty where they do not."""
    if model.classifier is not None:
        return numbered(beside_file(model).architecture.num_classes)
    if model.weights is None:
        published = timm.get_pretrained_cfg(model.backbone) if model.pretrained else None
        return numbered(published.num_classes) if published is not None else ()
    path = Path(model.weights)
    if path.is_dir() and (path / "config.json").is_file():
        return read_published(path).classes
    return numbered(classes_of(path) or 0)


def beside_file(config: ModelConfig) -> IAViT:
    """The classifier in the file that `classifier` names, with an interpreter beside it.

    Raises `UserError` as `read_program` and `IAViT.beside` do.
    """
    assert config.classifier is not None
    assert config.img_size is not None  # `Config` sees to that
    program = read_program(Path(config.classifier))
    return IAViT.beside(
        program.module(),
        config.img_size,
        config.backbone,
        interpreter_head=config.interpreter_head,
        program=program,
    )


def check_answers(model: IAViT, images: Tensor, objective: ObjectiveConfig) -> None:
    """Raise `UserError` where the predictor's answers cannot be explained, or not learned from.

    That is: they are of a single class or not finite, or the objective follows their gradient and
    none flows.
    images: a few, (B, 3, H, W).
    """
    with evaluating(model):
        with torch.no_grad():
            logits = model.predict(images)
        check_classes(logits.shape[1])
        if not bool(logits.isfinite().all()):
            raise UserError(
                "the classifier answers images of its own with values that are no numbers (NaN or "
                "infinite); check its weights, and how its images are normalised"
            )
        if "effect" not in parts_read(objective):
            return
        try:
            patch_effects(model.predict, images[:1], logits[:1].argmax(dim=-1), model.grid)
        except UserError as error:
            raise UserError(
                f"{error}; with `effect_share` 0 the interpreter learns from the answers alone, "
                "and its map follows them less closely"
            ) from error


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def check_complete(loaded: Loaded) -> None:
    """Raise `UserError` where a file had nothing for a part of the predictor, or not as it is."""
    missing = [name for name in loaded.new if not name.startswith(("interpreter", "branch"))]
    if missing:
        raise UserError(
            f"`weights` {loaded.path} has nothing that fits {', '.join(missing)}: a predictor that "
            "is not trained any more needs all its weights, with a head for the classes of the "
            "data set; train it (iavit train), or name other `weights` or `data`"
        )
    if loaded.resampled:
        raise UserError(
            f"`weights` {loaded.path}: {', '.join(loaded.resampled)} would have to be resampled, "
            "and a predictor that is kept stays as it is; set `img_size` to what it was trained at"
        )


def check_published(config: ModelConfig, classes: int) -> None:
    """Raise `UserError` where no weights were published for so many classes and this size."""
    published = timm.get_pretrained_cfg(config.backbone)
    if published is None or published.num_classes != classes:
        found = "none" if published is None else f"one of {published.num_classes}"
        raise UserError(
            f"`pretrained`: the data set has {classes} classes, and of heads {config.backbone} "
            f"has {found}; train it (iavit train), or name `weights` with a head that fits"
        )
    side = published.input_size[-1]
    if config.img_size not in (None, side):
        raise UserError(
            f"`img_size` is {config.img_size}, and {config.backbone} was published for {side} "
            "pixels a side: a predictor that is kept stays as it is; leave `img_size` out"
        )
