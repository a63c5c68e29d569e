"""An interpreter for a classifier that one has, from a few lines of Python."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iavit.config import RECIPES, ObjectiveConfig
from iavit.errors import UserError
from iavit.model.explainable import unwrap
from iavit.model.iavit import IAViT
from iavit.model.stems import STEMS
from iavit.objective.step import objective_terms
from iavit.training.finetune import seed as seed_step
from iavit.training.kept import TRIED, check_answers
from iavit.training.task import warmup_cosine


def attach(
    model: nn.Module,
    images: Tensor,
    *,
    steps: int = 2000,
    batch_size: int = 64,
    lr: float = 2e-3,
    seed: int = 0,
    branch_width: int | None = None,
    backbone: str | None = None,
    objective: ObjectiveConfig | None = None,
) -> IAViT:
    """Train an interpreter for a classifier, which stays as it is, bit for bit.

    Labels are not needed: the interpreter learns what the model answers. It reads the tokens of a
    timm vision transformer, and explains in the pass that predicts. Beside any other model it gets
    a whole backbone of its own, whose pass an explanation costs beside that of the model. Runs on
    the model's device, whatever the caller switched off of gradients, and leaves the model in
    evaluation mode.

    model: a classifier of a class in `iavit.model.stems.STEMS`, or any from images to logits
        (B, C), as a tensor or under the name `logits`.
    images: (n, 3, H, W) float32, normalised as the model was trained with.
    branch_width: channels of the interpreter's branch; by default `branch.default_width`.
    backbone: the interpreter's own, also beside a timm transformer; by default
        `backbones.default_backbone` where the model is none.
    objective: the terms and their weights, by default those of the recipe `faithful`.

    Returns the model with its interpreter, in evaluation mode.

    Raises `UserError` for images that the model does not read, answers that are no logits of two
    classes or more or not finite, an objective on gradients where none flow, and numbers with
    which nothing can be trained.

    Example:
        >>> explained = iavit.attach(torchvision.models.resnet18(), images, steps=3000)
        >>> explained.contributions(images)  # (B, N, C)
    """
    model = unwrap(model)
    objective = objective or RECIPES["faithful"]
    if images.ndim != 4 or len(images) == 0:
        raise UserError(f"`images` of shape {tuple(images.shape)}: give (n, 3, H, W), n at least 1")
    if images.dtype != torch.float32:
        raise UserError(
            f"`images` are {images.dtype}: give float32, normalised as the model was trained with"
        )
    if steps < 0 or batch_size < 1 or not lr > 0:
        raise UserError(
            f"`steps` {steps}, `batch_size` {batch_size}, `lr` {lr}: give at least 0, at least 1 "
            "and above 0"
        )
    device = next((p.device for p in model.parameters()), images.device)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
        images = images.clone() if images.is_inference() else images
        torch.manual_seed(seed)
        if type(model) in STEMS and backbone is None:
            explained = IAViT.around(model.eval(), "attached", branch_width=branch_width)
        else:
            height, width = images.shape[-2:]
            explained = IAViT.beside(model, (height, width), backbone)
        explained.to(device)
        explained.extractor.requires_grad_(False)
        try:
            check_answers(explained, images[:TRIED].to(device), objective)
            _train(explained, images, steps, batch_size, lr, seed, objective)
        finally:
            for parameter in learned:
                parameter.requires_grad_(True)
    return explained.eval()


def _train(
    model: IAViT,
    images: Tensor,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
    objective: ObjectiveConfig,
) -> None:
    device = next(model.parameters()).device
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr)
    for step in range(steps):
        seed_step(seed, step)
        for group in optimizer.param_groups:
            group["lr"] = lr * warmup_cosine(step, steps, 0.05)
        chosen = torch.randint(len(images), (min(batch_size, len(images)),))
        batch = images[chosen].to(device)
        loss = objective_terms(model, batch, None, objective)["loss"]
        if not bool(torch.isfinite(loss)):
            raise UserError(
                f"step {step + 1}: the loss is not a number; look at what the model answers, or "
                "lower `lr`"
            )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
