"""Everything that is said of an image: what both branches predict, its maps, and how far to trust.

What `iavit explain` and the page of a run show; they draw, and run no model themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from iavit.data.images import Images
from iavit.evaluate.trust import Trust, trust
from iavit.explain import Explainer
from iavit.model.explainable import evaluating
from iavit.model.graph import Graph
from iavit.model.iavit import IAViT
from iavit.types import Explanation

BATCH = 250  # images looked at together


@dataclass(frozen=True)
class Description:
    """What is said of B images.

    predictor, interpreter: (B, C), the probabilities of either branch.
    attention: (B, h, w), the interpreter's; sums to 1.
    contributions: (B, h, w, C), what each patch adds to each of the interpreter's logits.
    targets: (B,), the class explained. explanations: by explainer.
    trust: how far the interpreter speaks for the predictor.
    """

    predictor: Tensor
    interpreter: Tensor
    attention: Tensor
    contributions: Tensor
    targets: Tensor
    explanations: Mapping[str, Explanation]
    trust: Trust

    @property
    def agreement(self) -> Tensor:
        """(B,) bool, whether both branches name the same class."""
        return self.predictor.argmax(dim=1) == self.interpreter.argmax(dim=1)


@torch.no_grad()
def describe(
    model: IAViT,
    images: Tensor,
    explainers: Mapping[str, Explainer],
    targets: Tensor | None = None,
) -> Description:
    """Predict and explain images (B, 3, H, W) on the model's device.

    targets: (B,), the classes to explain; by default those that the predictor chooses.
    """
    with evaluating(model):
        output = Graph(model)(images)
    if targets is None:
        targets = output.probabilities.argmax(dim=1)
    return Description(
        output.probabilities,
        output.interpreter_probabilities,
        output.attention.unflatten(1, model.grid),
        output.contributions.unflatten(1, model.grid),
        targets,
        {name: explain(model, images, targets) for name, explain in explainers.items()},
        trust(model, images),
    )


@torch.no_grad()
def right_and_wrong(
    model: IAViT, images: Images, among: Tensor, count: int
) -> tuple[list[int], list[int]]:
    """Indices of the first `count` images that are predicted rightly, and wrongly.

    among: indices (m,) int64 in the order in which images are looked at.
    """
    device = next(model.parameters()).device
    right: list[int] = []
    wrong: list[int] = []
    for some in among.split(BATCH):
        batch = images[some.tolist()].to(device)
        correct = model.predict(batch.images).argmax(dim=1) == batch.labels
        for index, is_right in zip(some.tolist(), correct.tolist(), strict=True):
            (right if is_right else wrong).append(index)
        if min(len(right), len(wrong)) >= count:
            break
    return right[:count], wrong[:count]
