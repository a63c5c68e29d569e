"""Ways to ask that the interpreter attends where the extractor does.

Each takes the extractor's and the interpreter's attention, (B, N) probability vectors, and
returns a scalar that is least when they agree; `cross_kernel` is the exception that proves it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from iavit.config import ObjectiveConfig
from iavit.objective.inputs import Inputs
from iavit.objective.mmd import mmd_squared, squared_distances
from iavit.objective.processes import rows_of_all_processes

Alignment = Callable[[Tensor, Tensor], Tensor]

EPSILON = 1e-12  # keeps log(0) out; attentions are of the order of 1 / N


def mmd(extractor: Tensor, interpreter: Tensor) -> Tensor:
    """Biased MMD^2 between the batch's attentions (arXiv 2309.08035): see `mmd_squared`."""
    return mmd_squared(extractor, interpreter)


def kl(extractor: Tensor, interpreter: Tensor) -> Tensor:
    """`mean_i KL(e_i || a_i)`: image by image, unlike MMD."""
    log_ratio = (extractor + EPSILON).log() - (interpreter + EPSILON).log()
    return (extractor * log_ratio).sum(dim=1).mean()


def mse(extractor: Tensor, interpreter: Tensor) -> Tensor:
    """`mean_ik (e_ik - a_ik)^2`."""
    return F.mse_loss(interpreter, extractor)


def attention_transfer(extractor: Tensor, interpreter: Tensor) -> Tensor:
    """Mean squared difference of the squared maps, each scaled to unit length.

    Source: Zagoruyko and Komodakis, ICLR 2017, the activation-based loss; the authors'
    notebooks keep it in a comment.
    """
    difference = F.normalize(extractor.square()) - F.normalize(interpreter.square())
    return difference.square().mean()


def cross_kernel(extractor: Tensor, interpreter: Tensor) -> Tensor:
    """The authors' "MMD", kept for comparison only: `mean_ij exp(-d_ij / (2 mean d))`.

    It is the cross term of MMD^2 alone. Its floor, exp(-1/2), is reached when all distances are
    equal, and minimising it pushes the two attentions apart without end, as the mean distance is a
    constant to the gradient: `sigma_avg = res.mean().detach()` in all four notebooks.
    """
    distances = squared_distances(extractor, interpreter)
    return torch.exp(-distances / (2 * distances.mean().detach())).mean()


ALIGNMENTS: dict[str, Alignment] = {
    "mmd": mmd,
    "kl": kl,
    "mse": mse,
    "attention_transfer": attention_transfer,
    "cross_kernel": cross_kernel,
}


def alignment_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor:
    """On whole images, by the distance that `alignment` names.

    MMD compares samples, so where several processes train it is of the batches of all.
    """
    output = inputs.output
    both = (output.extractor_attention, output.interpreter_attention)
    return ALIGNMENTS[config.alignment](*map(rows_of_all_processes, both))
