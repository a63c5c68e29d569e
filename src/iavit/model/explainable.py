"""Any model that can be explained, and what is asked of it: checked in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.black_box import BlackBox, check_classes
from iavit.model.extractor import Extractor
from iavit.model.iavit import IAViT
from iavit.model.stems import STEMS

Predictor: TypeAlias = Extractor | BlackBox  # what has answers: `logits`, `grid`, `num_classes`

# Wrappers that hand their input on to one part, and the name of that part.
_WRAPPERS = {
    "OptimizedModule": "_orig_mod",  # of torch.compile
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
}


def unwrap(model: nn.Module) -> nn.Module:
    """The model itself, inside whatever `torch.compile` and the like put around it.

    What is explained is the model without them: the same parameters, the same results.
    """
    while type(model).__module__.startswith("torch.") and type(model).__name__ in _WRAPPERS:
        inner = getattr(model, _WRAPPERS[type(model).__name__])
        assert isinstance(inner, nn.Module)
        model = inner
    return model


def predictor_of(model: nn.Module) -> Predictor:
    """An `IAViT`'s own predictor, or an extractor around a plain timm vision transformer.

    The transformer is left as it is: the extractor only holds it. Wrappers are looked through.

    Raises `UserError` for every other model.
    """
    model = unwrap(model)
    if isinstance(model, IAViT):
        return model.extractor
    if type(model) in STEMS:
        return Extractor(model)
    raise UserError(
        f"a {type(model).__name__} cannot be explained; "
        "use an IAViT or a timm vision transformer such as vit_small_patch16_224, or give it an "
        "interpreter with iavit.attach"
    )


def extractor_of(model: nn.Module) -> Extractor:
    """`predictor_of`, of which tokens and attention can be read; `UserError` for a black box."""
    predictor = predictor_of(model)
    return predictor.backbone if isinstance(predictor, BlackBox) else predictor


def interpreted(model: nn.Module, explainer: str) -> IAViT:
    """The model itself, where it has an interpreter; else `UserError` for this explainer."""
    model = unwrap(model)
    if isinstance(model, IAViT):
        return model
    raise UserError(
        f"{explainer} needs a model with an interpreter, and a {type(model).__name__} has none: "
        "train one (iavit train), or choose another explainer"
    )


@contextmanager
def explaining(
    model: nn.Module, images: Tensor, targets: Tensor
) -> Iterator[tuple[Predictor, Tensor, Tensor]]:
    """The model's predictor, in evaluation mode for as long as an explanation takes.

    Beside it the images and targets as an explanation needs them: targets as int64, and both fit
    to take gradients on, also where they were made under `torch.inference_mode`.

    images: (B, 3, H, W) of the model's size, normalised. targets: (B,), whole numbers, classes.

    Raises `UserError` for images and targets that the model cannot be asked about.
    """
    predictor = predictor_of(model)
    device = next(model.parameters()).device
    _check(predictor, device, images, targets)
    images, targets = (
        tensor.clone() if tensor.is_inference() else tensor for tensor in (images, targets.long())
    )
    with evaluating(model):
        yield predictor, images, targets


@contextmanager
def looking_inside(
    model: nn.Module, images: Tensor, targets: Tensor
) -> Iterator[tuple[Extractor, Tensor, Tensor]]:
    """`explaining`, of a model whose tokens and attention can be read; else `UserError`."""
    extractor = extractor_of(model)
    with explaining(model, images, targets) as (_, checked_images, checked_targets):
        yield extractor, checked_images, checked_targets


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards each part of it is in the mode that it was in."""
    training = [part for part in model.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _check(predictor: Predictor, device: torch.device, images: Tensor, targets: Tensor) -> None:
    if images.ndim != 4:
        raise UserError(
            f"images of shape {tuple(images.shape)}: explain a batch of shape (B, 3, H, W)"
        )
    if not images.is_floating_point():
        raise UserError(f"images of type {images.dtype}: normalise the pixels, to floating point")
    predictor.check_size(images)
    if targets.shape != images.shape[:1] or targets.is_floating_point():
        raise UserError(
            f"targets of shape {tuple(targets.shape)} and type {targets.dtype} for "
            f"{len(images)} images: give one class number for each"
        )
    if images.device != device or targets.device != device:
        raise UserError(
            f"the model is on {device}, images on {images.device} and targets on "
            f"{targets.device}: move all to one device"
        )
    classes = predictor.num_classes
    check_classes(classes)
    if len(targets) and not (int(targets.min()) >= 0 and int(targets.max()) < classes):
        raise UserError(
            f"targets from {int(targets.min())} to {int(targets.max())}: this model's "
            f"{classes} classes have the numbers 0 to {classes - 1}"
        )
