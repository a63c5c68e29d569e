"""A predictor that is kept as it is: its weights have to be all there, the head's among them."""

from __future__ import annotations

import timm

from iavit.config import ModelConfig
from iavit.errors import UserError
from iavit.model.checkpoints import Loaded


def check_complete(loaded: Loaded) -> None:
    """Raise `UserError` where a file had nothing for some part of the predictor."""
    missing = [name for name in loaded.new if not name.startswith(("interpreter", "branch"))]
    if missing:
        raise UserError(
            f"`weights` {loaded.path} has nothing that fits {', '.join(missing)}: a predictor that "
            "is not trained any more needs all its weights, with a head for the classes of the "
            "data set; train it (`steps` above 0), or name other `weights` or `data`"
        )


def check_published(config: ModelConfig, classes: int) -> None:
    """Raise `UserError` where there are no published weights for a head of so many classes."""
    if not config.pretrained:
        raise UserError(
            "`steps` is 0: a predictor that is not trained has to come from somewhere; name its "
            "`weights`, give `pretrained`, or train it with more `steps`"
        )
    published = timm.get_pretrained_cfg(config.backbone)
    if published is None or published.num_classes != classes:
        found = "none" if published is None else f"one of {published.num_classes}"
        raise UserError(
            f"`pretrained`: the data set has {classes} classes, and of heads {config.backbone} "
            f"has {found}; train it (`steps` above 0), or name `weights` with a head that fits"
        )
