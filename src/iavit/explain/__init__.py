"""`EXPLAINERS`: name to function, `explain(model, images, targets) -> Explanation`.

An explainer of one's own is such a function and one line in this dictionary.
"""

from collections.abc import Callable

from torch import Tensor, nn

from iavit.explain.attention_gradient import attcam, attgrads, generic_attention
from iavit.explain.attention_maps import attention_received, raw_attention, rollout
from iavit.explain.gradient import (
    grad_cam,
    input_x_gradient,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from iavit.explain.perturbation import kernel_shap, occlusion, rise
from iavit.explain.random import random
from iavit.explain.relevance import partial_lrp, transformer_attribution
from iavit.explain.self_explanation import contributions, interpreter
from iavit.types import Explanation

Explainer = Callable[[nn.Module, Tensor, Tensor], Explanation]

EXPLAINERS: dict[str, Explainer] = {
    "contributions": contributions,  # the first one is what others are compared with
    "interpreter": interpreter,
    "raw_attention": raw_attention,
    "rollout": rollout,
    "attention_received": attention_received,
    "saliency": saliency,
    "input_x_gradient": input_x_gradient,
    "integrated_gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "grad_cam": grad_cam,
    "attgrads": attgrads,
    "attcam": attcam,
    "generic_attention": generic_attention,
    "transformer_attribution": transformer_attribution,
    "partial_lrp": partial_lrp,
    "rise": rise,
    "occlusion": occlusion,
    "kernel_shap": kernel_shap,
    "random": random,
}

# Those that ask the model more than a dozen times about an image.
SLOW = frozenset({"integrated_gradients", "smoothgrad", "rise", "occlusion", "kernel_shap"})
