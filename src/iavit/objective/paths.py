"""Path simulation: the contributions go where the predictor's answer comes from.

Along random ways from an image with nothing visible to the whole of it, the gradient of the
predictor's answer with respect to each patch's visibility is an unbiased sample of what the patch
adds to it (expected gradients: Erion et al. 2021; over the diagonal the multilinear extension's
gradient integrates to the Shapley value: Owen 1972). The contributions learn its direction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from iavit.objective.masking import blend_images


def path_gradient(
    predict: Callable[[Tensor], Tensor], images: Tensor, classes: Tensor, grid: tuple[int, int]
) -> Tensor:
    """One sample of each patch's effect on the log-probability of a class, (B, N)."""
    count, patches = len(images), grid[0] * grid[1]
    share = torch.rand(count, 1, device=images.device)
    spread = torch.rand(count, patches, device=images.device) - 0.5
    visible = (share + spread).clamp(0, 1).requires_grad_()
    with torch.enable_grad():
        logits = predict(blend_images(images, visible, grid)).float()
        answers = logits.log_softmax(dim=-1).gather(1, classes[:, None])
        (gradient,) = torch.autograd.grad(answers.sum(), visible)
    return gradient


def path_simulation(contributions: Tensor, gradient: Tensor) -> Tensor:
    """`mean_i 1 - cos(contributions_i, gradient_i)`, both (B, N), a scalar from 0 to 2."""
    return 1 - F.cosine_similarity(contributions, gradient, dim=-1, eps=1e-6).mean()
