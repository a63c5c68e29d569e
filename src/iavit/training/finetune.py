"""Fine-tuning as people do it: what is frozen, who learns how fast, and mixed images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from timm.data import Mixup
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from iavit.config import TrainingConfig
from iavit.errors import UserError
from iavit.model.black_box import OwnBackbone
from iavit.model.iavit import IAViT
from iavit.types import Batch


def freeze(model: IAViT, last: int) -> None:
    """Stop the backbone from learning, apart from its classifier and the last blocks.

    last: how many blocks, counted from the end, go on learning, and with them what follows the
        blocks (norms, attention pool). With 0, the classifier and the interpreter alone learn.

    Raises `UserError` where there are fewer blocks, and for a `BlackBox`.
    """
    backbone: Any = model.extractor.backbone
    depth = len(backbone.blocks)
    if not 0 <= last <= depth:
        raise UserError(f"`unfreeze_last` is {last}; this backbone has {depth} blocks")
    backbone.requires_grad_(False)
    learning = [part for name, part in backbone.named_children() if name.startswith("head")]
    if last:
        learning += list(backbone.blocks.children())[depth - last :]
        after = (getattr(backbone, name, None) for name in ("norm", "fc_norm", "attn_pool"))
        learning += [part for part in after if part is not None]
    for part in learning:
        part.requires_grad_(True)


def rest_frozen(model: IAViT) -> None:
    """Put frozen parts in evaluation mode: no dropout, no new batch statistics."""
    for part in model.extractor.backbone.modules():
        own = list(part.parameters())
        if own and not any(parameter.requires_grad for parameter in own):
            part.eval()


def parameter_groups(model: IAViT, config: TrainingConfig) -> list[dict[str, Any]]:
    """Groups for an optimiser, with the learning rate and weight decay of each.

    Weight decay is on matrices, none on biases, norms, tokens and position embeddings. With
    layer decay `d`, block `i` of `L` learns `d ** (L + 1 - i)` times as fast as the head, and
    the patch embedding slowest (timm's grouping, after BEiT, arXiv 2106.08254); the interpreter
    learns at the full rate. Beside a `BlackBox` its own backbone does, too.
    """
    if isinstance(model.branch, OwnBackbone):
        own_backbone: Any = model.branch.extractor.backbone
        spared = {f"branch.extractor.backbone.{name}" for name in own_backbone.no_weight_decay()}
        return _two_groups(model, spared, config)
    backbone: Any = model.extractor.backbone
    if config.layer_decay == 1.0:
        spared = {f"extractor.backbone.{name}" for name in backbone.no_weight_decay()}
        return _two_groups(model, spared, config)
    own = [] if model.branch is None else [model.branch]
    layers = param_groups_layer_decay(
        backbone,
        weight_decay=config.weight_decay,
        no_weight_decay_list=backbone.no_weight_decay(),
        layer_decay=config.layer_decay,
    )
    return [
        *_two_groups(nn.ModuleList([model.interpreter, *own]), set(), config),
        *(
            {
                "params": group["params"],
                "weight_decay": group["weight_decay"],
                "lr": config.lr * group["lr_scale"],
            }
            for group in layers
        ),
    ]


def _two_groups(
    module: nn.Module, spared: set[str], config: TrainingConfig
) -> list[dict[str, Any]]:
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if p.ndim > 1 and name not in spared]
    others = [p for name, p in trained if p.ndim <= 1 or name in spared]
    return [
        {"params": decayed, "weight_decay": config.weight_decay, "lr": config.lr},
        {"params": others, "weight_decay": 0.0, "lr": config.lr},
    ]


class Mixing:
    """Mixup (arXiv 1710.09412) and cutmix (arXiv 1905.04899) of a batch, by timm.

    Every image is mixed with its mirror in the batch; where both are wanted, each batch draws
    one of the two. timm draws from numpy's generator: see `seed`.
    """

    def __init__(self, config: TrainingConfig, classes: int) -> None:
        self.mix = Mixup(
            config.mixup, config.cutmix, label_smoothing=0.0, num_classes=classes, mode="batch"
        )

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and labels (B, C), probabilities; the batch is left as it is."""
        images, labels = self.mix(batch.images.clone(), batch.labels)
        return images, labels


def seed(run: int, number: int) -> None:
    """Seed what a training step draws from, torch and numpy, by the run's seed and a number.

    torch's generator of the CPU reads the low 32 bits of its seed and no others, so the run's
    seed is spread over those: an odd factor gives each run its own.
    """
    torch.manual_seed((run * 0x9E3779B1 + number) % 2**32)  # 2**32 over the golden ratio
    np.random.seed(np.random.SeedSequence([run % 2**32, number]).generate_state(4))
