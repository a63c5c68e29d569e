"""An interpreter for a transformer that one has, from a few lines of Python."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from iavit.config import RECIPES, ObjectiveConfig
from iavit.errors import UserError
from iavit.model.iavit import IAViT
from iavit.model.stems import STEMS
from iavit.objective.step import objective_terms
from iavit.training.finetune import seed as seed_step
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
    objective: ObjectiveConfig | None = None,
) -> IAViT:
    """Train an interpreter for a timm vision transformer, which stays as it is, bit for bit.

    Labels are not needed: the interpreter learns what the model answers. Runs on the model's
    device.

    model: a classifier of a class in `iavit.model.stems.STEMS`.
    images: (n, 3, H, W) float32, normalised as the model was trained with.
    branch_width: channels of the interpreter's branch; by default `branch.default_width`.
    objective: the terms and their weights, by default those of the recipe `faithful`.

    Returns the model with its interpreter, in evaluation mode.

    Raises `UserError` for another kind of model, images that it does not read, and answers that
    are not finite.
    """
    if type(model) not in STEMS:
        raise UserError(
            f"a {type(model).__name__} cannot be given an interpreter; use a timm vision "
            "transformer such as vit_small_patch16_224"
        )
    if images.ndim != 4 or len(images) == 0:
        raise UserError(f"`images` of shape {tuple(images.shape)}: give (n, 3, H, W), n at least 1")
    device = next(model.parameters()).device
    training = [part for part in model.modules() if part.training]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        explained = IAViT.around(model, "attached", branch_width=branch_width).to(device)
        model.eval().requires_grad_(False)
        try:
            _train(explained, images, steps, batch_size, lr, seed, objective or RECIPES["faithful"])
        finally:
            for parameter in learned:
                parameter.requires_grad_(True)
            for part in training:
                part.training = True
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
