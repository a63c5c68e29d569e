"""The joint objective: `L = L_ce + w_sim L_sim + w_align L_align`, every term named."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from iavit.config import ObjectiveConfig
from iavit.objective.alignment import ALIGNMENTS
from iavit.types import Output


def simulation(logits: Tensor, interpreter_logits: Tensor, temperature: float) -> Tensor:
    """`T^2 KL(softmax(f / T) || softmax(g / T))`, batch mean: the interpreter imitates.

    logits, interpreter_logits: (B, C), f and g. Returns a scalar.

    Source: arXiv 2309.08035; Hinton et al. 2015 for the factor `T^2`.
    """
    teacher = F.log_softmax(logits / temperature, dim=-1)
    student = F.log_softmax(interpreter_logits / temperature, dim=-1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def joint_objective(output: Output, labels: Tensor, config: ObjectiveConfig) -> dict[str, Tensor]:
    """Named scalar terms: `loss`, the weighted sum, and what it is made of.

    A term of weight 0 is left out of the sum and of the names.
    labels: (B,) int64, or (B, C), the probabilities of mixed images.
    """
    cross_entropy = F.cross_entropy(output.logits, labels, label_smoothing=config.label_smoothing)
    terms = {"loss": cross_entropy, "cross_entropy": cross_entropy}
    if config.simulation_weight:
        teacher = output.logits if config.teacher_gradient else output.logits.detach()
        term = simulation(teacher, output.interpreter_logits, config.temperature)
        terms["simulation"] = term
        terms["loss"] = terms["loss"] + config.simulation_weight * term
    if config.alignment_weight:
        target = output.extractor_attention
        target = target if config.attention_gradient else target.detach()
        term = ALIGNMENTS[config.alignment](target, output.interpreter_attention)
        terms["alignment"] = term
        terms["loss"] = terms["loss"] + config.alignment_weight * term
    return terms
