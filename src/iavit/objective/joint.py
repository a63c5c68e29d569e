"""The joint objective: a weighted sum of terms, every one named.

`L = L_ce + w_sim L_sim + w_align L_align` (arXiv 2309.08035), and with images of which only some
patches are visible `+ w_mask L_masked_ce + w_sub L_subset`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from iavit.config import ObjectiveConfig
from iavit.objective.alignment import ALIGNMENTS
from iavit.objective.simulation import simulation
from iavit.objective.subsets import subset_attention
from iavit.types import Output


@dataclass(frozen=True)
class Masked:
    """The predictor's answers on copies of the first B' images of a batch.

    visible: (B', N) bool, the patches that each copy shows. logits: (B', C).
    """

    visible: Tensor
    logits: Tensor


def joint_objective(
    output: Output, labels: Tensor, config: ObjectiveConfig, masked: Masked | None = None
) -> dict[str, Tensor]:
    """Named scalar terms: `loss`, the weighted sum, and what it is made of.

    A term of weight 0 is left out of the sum and of the names, and so are the terms on masked
    copies where there are none. Computed in float32 at least, also under autocast: distances
    between attentions and divergences of near answers drown in half precision.
    labels: (B,) int64, or (B, C), the probabilities of mixed images.
    """
    with torch.autocast(output.logits.device.type, enabled=False):
        wide = Output(**{name: _wide(value) for name, value in vars(output).items()})
        if masked is not None:
            masked = Masked(masked.visible, _wide(masked.logits))
        weighted = _weighted_terms(wide, labels, config, masked)
        loss = sum(
            (weight * term for weight, term in weighted.values()), start=wide.logits.new_zeros(())
        )
    return {"loss": loss, **{name: term for name, (_, term) in weighted.items()}}


def asks_interpreter(config: ObjectiveConfig) -> bool:
    """Whether any term asks anything of the interpreter; without, a plain classifier is trained."""
    masked = config.subset_weight and config.masked_share
    return bool(config.simulation_weight or config.alignment_weight or masked)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _weighted_terms(
    output: Output, labels: Tensor, config: ObjectiveConfig, masked: Masked | None
) -> dict[str, tuple[float, Tensor]]:
    smoothing = config.label_smoothing
    cross_entropy = F.cross_entropy(output.logits, labels, label_smoothing=smoothing)
    weighted = {"cross_entropy": (1.0, cross_entropy)}
    if config.simulation_weight:
        teacher = output.logits if config.teacher_gradient else output.logits.detach()
        term = simulation(teacher, output.interpreter_logits, config.temperature)
        weighted["simulation"] = (config.simulation_weight, term)
    if config.alignment_weight:
        target = output.extractor_attention
        target = target if config.attention_gradient else target.detach()
        term = ALIGNMENTS[config.alignment](target, output.interpreter_attention)
        weighted["alignment"] = (config.alignment_weight, term)
    if masked is not None:
        weighted |= _masked_terms(output, labels, config, masked)
    return weighted


def _masked_terms(
    output: Output, labels: Tensor, config: ObjectiveConfig, masked: Masked
) -> dict[str, tuple[float, Tensor]]:
    count = len(masked.logits)
    weighted = {}
    if config.masked_weight:
        smoothing = config.label_smoothing
        term = F.cross_entropy(masked.logits, labels[:count], label_smoothing=smoothing)
        weighted["masked_cross_entropy"] = (config.masked_weight, term)
    if config.subset_weight:
        term = subset_attention(
            output.interpreter_attention[:count],
            masked.visible,
            output.logits[:count],
            masked.logits,
        )
        weighted["subset"] = (config.subset_weight, term)
    return weighted
