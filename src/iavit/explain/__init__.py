"""`EXPLAINERS`: name to function, `explain(model, images, targets) -> Explanation`.

An explainer of one's own is such a function and one line in this dictionary.
"""

from collections.abc import Callable

from torch import Tensor, nn

from iavit import _torchvision as _torchvision
from iavit.explain.attention import attention_received, raw_attention, rollout
from iavit.explain.interpreter import contributions, interpreter
from iavit.explain.random import random
from iavit.types import Explanation

Explainer = Callable[[nn.Module, Tensor, Tensor], Explanation]

EXPLAINERS: dict[str, Explainer] = {
    "interpreter": interpreter,
    "contributions": contributions,
    "raw_attention": raw_attention,
    "rollout": rollout,
    "attention_received": attention_received,
    "random": random,
}

# Read off a forward pass or two: cheap enough to be compared on every image, as the demo does.
ONE_PASS = (
    "interpreter",
    "contributions",
    "raw_attention",
    "rollout",
    "attention_received",
    "random",
)
