"""Simulation: the interpreter says what the predictor says."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from iavit.config import ObjectiveConfig
from iavit.objective.inputs import Inputs


def simulation(logits: Tensor, interpreter_logits: Tensor, temperature: float) -> Tensor:
    """`T^2 KL(softmax(f / T) || softmax(g / T))`, batch mean: the interpreter imitates.

    logits, interpreter_logits: (B, C), f and g. Returns a scalar.

    Source: arXiv 2309.08035; Hinton et al. 2015 for the factor `T^2`.
    """
    teacher = F.log_softmax(logits / temperature, dim=1)
    student = F.log_softmax(interpreter_logits / temperature, dim=1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def simulation_term(inputs: Inputs, config: ObjectiveConfig) -> Tensor:
    """On whole images; the predictor is moved too only with `teacher_gradient`."""
    logits = inputs.output.logits
    teacher = logits if config.teacher_gradient else logits.detach()
    return simulation(teacher, inputs.output.interpreter_logits, config.temperature)
