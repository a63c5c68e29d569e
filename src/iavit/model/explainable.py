"""Any model that can be explained, and what is asked of it: checked in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.extractor import Extractor
from iavit.model.iavit import IAViT
from iavit.model.stems import STEMS

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


def extractor_of(model: nn.Module) -> Extractor:
    """An `IAViT`'s own extractor, or one around a plain timm vision transformer.

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
        "use an IAViT or a timm vision transformer such as vit_small_patch16_224"
    )


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
def explaining(model: nn.Module, images: Tensor, targets: Tensor) -> Iterator[Extractor]:
    """The model's extractor, in evaluation mode for as long as an explanation takes.

    images: (B, 3, H, W) of the model's size, normalised. targets: (B,) int64, classes.

    Raises `UserError` for images and targets that the model cannot be asked about.
    """
    extractor = extractor_of(model)
    _check(extractor, images, targets)
    with evaluating(model):
        yield extractor


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


def _check(extractor: Extractor, images: Tensor, targets: Tensor) -> None:
    if images.ndim != 4:
        raise UserError(
            f"images of shape {tuple(images.shape)}: explain a batch of shape (B, 3, H, W)"
        )
    extractor.check_size(images)
    if targets.shape != images.shape[:1] or targets.is_floating_point():
        raise UserError(
            f"targets of shape {tuple(targets.shape)} and type {targets.dtype} for "
            f"{len(images)} images: give one class number for each"
        )
    device = next(extractor.parameters()).device
    if images.device != device or targets.device != device:
        raise UserError(
            f"the model is on {device}, images on {images.device} and targets on "
            f"{targets.device}: move all to one device"
        )
    classes = extractor.backbone.num_classes
    if classes == 1:
        raise UserError(
            "the model has a single logit, whose probability among all classes is always 1: "
            "give it one a class, two for yes and no"
        )
    if len(targets) and not (int(targets.min()) >= 0 and int(targets.max()) < classes):
        raise UserError(
            f"targets from {int(targets.min())} to {int(targets.max())}: this model's "
            f"{classes} classes have the numbers 0 to {classes - 1}"
        )
