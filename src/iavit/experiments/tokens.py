"""Does the mean of the patch tokens say what the class token says, and look where it looks?

The observation that the paper starts from and illustrates on single images (its figure 1); here
it is also counted over the test set. (One of the authors' figures shows the class token's map
twice; these two are different rows of the attention.)
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from iavit.data.images import Images
from iavit.data.loaders import evaluation_loader
from iavit.data.sampling import sample
from iavit.evaluate.evaluation import Figure
from iavit.evaluate.prediction import agreement, divergence
from iavit.evaluate.statistics import interval
from iavit.experiments.seeds import over_seeds
from iavit.experiments.tables import Kind, Table
from iavit.experiments.variants import VARIANTS
from iavit.model.extractor import Extractor

BATCH = 100  # images whose attention maps are held at once
FITTED = 2_000  # training images on which a head of their own is fitted to the patch tokens


@dataclass(frozen=True)
class Views:
    """What both kinds of token say of B images, and where they look.

    class_logits, patch_logits: (B, C), the predictor's head on the class token and on the mean
        of the patch tokens. class_maps, patch_maps: (B, h, w), the last layer's attention to
        the patches, mean over heads, of the class token and of the patch tokens on average;
        each sums to 1. patch_means: (B, D), those means.
    """

    class_logits: Tensor
    patch_logits: Tensor
    class_maps: Tensor
    patch_maps: Tensor
    patch_means: Tensor


@torch.no_grad()
def views(extractor: Extractor, images: Tensor) -> Views:
    """Both readings of images (B, 3, H, W).

    Raises `ValueError` for a backbone that does not read a class token.
    """
    if not extractor.prefix or extractor.backbone.global_pool != "token":
        raise ValueError("this backbone reads no class token")
    prefix = extractor.prefix
    tokens = extractor.tokens(images)
    patch_means = tokens[:, prefix:].mean(dim=1)
    exchanged = torch.cat([patch_means[:, None], tokens[:, 1:]], dim=1)
    attention = extractor.attention_maps(images)[-1].mean(dim=1)[:, :, prefix:]  # (B, T, N)
    rows = {"class": attention[:, 0], "patch": attention[:, prefix:].mean(dim=1)}
    maps = {
        name: (row / row.sum(dim=-1, keepdim=True)).unflatten(1, extractor.grid)
        for name, row in rows.items()
    }
    return Views(
        extractor.predict(tokens),
        extractor.predict(exchanged),
        maps["class"],
        maps["patch"],
        patch_means,
    )


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's of each pair of maps, (B, h, w) each to (B,); NaN where a map is constant."""
    a, b = (maps.flatten(1).double() for maps in (a, b))
    a, b = (maps - maps.mean(dim=1, keepdim=True) for maps in (a, b))
    return (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1)).where(
        (a.norm(dim=1) > 0) & (b.norm(dim=1) > 0), torch.tensor(float("nan"), dtype=a.dtype)
    )


def statistic(extractor: Extractor, train: Images, test: Images) -> dict[str, Any]:
    """Figures over the test images.

    - `agreement`, `divergence`: of the same head on either token.
    - `own_head_agreement`, `own_head_accuracy`: of a logistic regression fitted to the patch
      tokens of some training images, since the predictor's head never saw such a mean.
    - `correlation`: of the two attention maps; `chance_correlation`: with the class token's map
      of the next image, which tells how much of it all maps share.
    """
    both = _all_views(extractor, test)
    labels = torch.cat([batch.labels for batch in evaluation_loader(test, BATCH)])
    said = both.class_logits.argmax(dim=-1)
    own = _own_head(extractor, train, both.patch_means)
    values = {
        "agreement": agreement(both.class_logits, both.patch_logits),
        "divergence": divergence(both.class_logits, both.patch_logits),
        "own_head_agreement": own == said,
        "own_head_accuracy": own == labels,
        "correlation": correlation(both.class_maps, both.patch_maps),
        "chance_correlation": correlation(both.class_maps.roll(1, dims=0), both.patch_maps),
    }
    return {
        "images": len(test),
        **{name: asdict(interval(each)) for name, each in values.items()},
    }


def _all_views(extractor: Extractor, images: Images) -> Views:
    device = next(extractor.parameters()).device
    parts = [
        views(extractor, batch.images.to(device)) for batch in evaluation_loader(images, BATCH)
    ]
    return Views(
        **{name: torch.cat([vars(part)[name].cpu() for part in parts]) for name in vars(parts[0])}
    )


@torch.no_grad()
def _own_head(extractor: Extractor, train: Images, means: Tensor) -> Tensor:
    """Classes (B,) of mean patch tokens (B, D) by a head fitted to those of training images."""
    device = next(extractor.parameters()).device
    features, labels = [], []
    for batch in evaluation_loader(sample(train, FITTED), BATCH):
        tokens = extractor.tokens(batch.images.to(device))
        features.append(tokens[:, extractor.prefix :].mean(dim=1).cpu())
        labels.append(batch.labels)
    known = torch.cat(labels)
    if len(known.unique()) < 2:
        return known[:1].expand(len(means))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        head = LogisticRegression(max_iter=300).fit(torch.cat(features).numpy(), known.numpy())
    return torch.from_numpy(head.predict(means.numpy()))


def token_table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """The statistic of figure 1: variant to what `statistic` says, one a seed."""
    columns: dict[str, tuple[str, Kind]] = {
        "agreement": ("same class", "percent"),
        "divergence": ("KL of the distributions, nats", "number"),
        "own_head_agreement": ("same class, head of its own", "percent"),
        "own_head_accuracy": ("accuracy of that head", "percent"),
        "correlation": ("correlation of the maps", "number"),
        "chance_correlation": ("… with another image's map", "number"),
    }
    return Table(
        "tokens",
        "The class token against the mean of the patch tokens",
        "The predictor's head on either token, and a head of its own fitted to the patch tokens; "
        "the last layer's attention of either, mean over heads. Over the test images on which "
        "explanations are measured.",
        "model",
        columns,
        {
            VARIANTS[variant].summary: {
                key: over_seeds([Figure(**figures[key]) for figures in each]) for key in columns
            }
            for variant, each in found.items()
        },
    )
