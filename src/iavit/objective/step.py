"""One step of the method: what is asked of a batch, and when.

`L = L_ce + w_sim L_sim + w_align L_align` (arXiv 2309.08035), and beyond the paper terms on copies
of which only some patches are visible, and on samples of the predictor's gradient. `TERMS` has
them all: a new one is a function `(Inputs, ObjectiveConfig) -> Tensor` in a file of its own, its
weight in `ObjectiveConfig`, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from iavit.config import ObjectiveConfig
from iavit.masking.sampling import draw_visible, mask_images
from iavit.model.explainable import evaluating
from iavit.model.extractor import ExtractorAttention
from iavit.model.iavit import IAViT
from iavit.objective.alignment import alignment_term
from iavit.objective.effects import effect_attention_term, effect_term, patch_effects
from iavit.objective.inputs import EffectSample, Inputs, MaskedCopies
from iavit.objective.labels import cross_entropy_term, masked_cross_entropy_term
from iavit.objective.simulation import simulation_term
from iavit.types import Output

Part = Literal["interpreter", "extractor_attention", "copies", "effect"]
P = TypeVar("P", Output, MaskedCopies, EffectSample)


@dataclass(frozen=True)
class Term:
    """A term of the loss.

    weight: its weight by the settings; with 0 it is left out.
    value: a scalar; None where what it reads is not there.
    reads: parts that are computed only where some term reads them.
    """

    weight: Callable[[ObjectiveConfig], float]
    value: Callable[[Inputs, ObjectiveConfig], Tensor | None]
    reads: frozenset[Part] = frozenset()


TERMS: dict[str, Term] = {
    "cross_entropy": Term(lambda config: 1.0, cross_entropy_term),
    "simulation": Term(
        lambda config: config.simulation_weight, simulation_term, frozenset({"interpreter"})
    ),
    "alignment": Term(
        lambda config: config.alignment_weight,
        alignment_term,
        frozenset({"interpreter", "extractor_attention"}),
    ),
    "masked_cross_entropy": Term(
        lambda config: config.masked_weight, masked_cross_entropy_term, frozenset({"copies"})
    ),
    "effect": Term(
        lambda config: config.effect_weight, effect_term, frozenset({"interpreter", "effect"})
    ),
    "effect_attention": Term(
        lambda config: config.effect_attention_weight,
        effect_attention_term,
        frozenset({"interpreter", "effect"}),
    ),
}


def objective_terms(
    model: IAViT,
    images: Tensor,
    labels: Tensor | None,
    config: ObjectiveConfig,
    progress: float = 1.0,
) -> dict[str, Tensor]:
    """The objective of one batch as named scalars: `loss`, and what it is the weighted sum of.

    Terms of weight 0, and those that have not begun, are neither computed nor named. Beside them
    stand, without gradient, `predictor_accuracy` where there are labels, and where the interpreter
    was run `interpreter_accuracy` and `agreement`, the share of images of which both branches
    name the same class. Draws from torch's global generator: which patches are masked, and by
    what.

    images: (B, 3, H, W), normalised. labels: (B,) int64, or (B, C), probabilities of mixed images;
        None to teach the interpreter alone, which learns from the predictor and not from labels.
    progress: the share of the run that is over, from 0 to 1.

    Example:
        >>> loss = objective_terms(model, images, labels, RECIPES["paper"], step / steps)["loss"]
        >>> loss.backward()
    """
    asked = begun(config, progress)
    inputs = _compute(model, images, labels, asked)
    return {**weighted_sum(inputs, asked), **_accuracies(inputs)}


def begun(config: ObjectiveConfig, progress: float) -> ObjectiveConfig:
    """The settings at this point of a run: before `explain_from` of it the labels alone.

    Until the predictor tells classes apart its attention and its gradient say nothing, and on the
    digits terms on them, or on parts of images, from the first step on prolonged the plateau
    before its loss begins to fall by hundreds of steps. Of the alignment that is no wonder:
    attentions that are all but equal have small distances, which are the measure of its kernels'
    widths, and so a large gradient. Imitation that comes before the others settles the
    interpreter's attention beside the evidence, where they leave it.
    """
    if progress >= config.explain_from:
        return config
    return replace(
        config, simulation_weight=0.0, alignment_weight=0.0, masked_share=0.0, effect_share=0.0
    )


def parts_read(config: ObjectiveConfig) -> frozenset[Part]:
    """The parts that some term reads. Without `interpreter`, a plain classifier is trained."""
    missing: set[Part] = set()
    if not config.masked_share:
        missing.add("copies")
    if not config.effect_share:
        missing.add("effect")
    active = [term.reads for term in TERMS.values() if term.weight(config)]
    return frozenset().union(*(reads for reads in active if not reads & missing))


def weighted_sum(inputs: Inputs, config: ObjectiveConfig) -> dict[str, Tensor]:
    """`loss` and its terms, by name, in the order of `TERMS`.

    Computed in float32 at least, also under autocast: distances between attentions and
    divergences of near answers drown in half precision.
    """
    with torch.autocast(inputs.output.logits.device.type, enabled=False):
        wide = replace(
            inputs,
            output=_wide(inputs.output),
            copies=None if inputs.copies is None else _wide(inputs.copies),
            effect=None if inputs.effect is None else _wide(inputs.effect),
        )
        terms: dict[str, Tensor] = {}
        loss = wide.output.logits.new_zeros(())
        for name, term in TERMS.items():
            weight = term.weight(config)
            value = term.value(wide, config) if weight else None
            if value is not None:
                terms[name] = value
                loss = loss + weight * value
    return {"loss": loss, **terms}


def _wide(part: P) -> P:
    """The numbers in float32 at least; what is true or false as it is."""
    wide: dict[str, Any] = {
        name: value.to(torch.promote_types(value.dtype, torch.float32))
        for name, value in vars(part).items()
        if value.is_floating_point() and name != "tokens"
    }
    return replace(part, **wide)


def _compute(
    model: IAViT, images: Tensor, labels: Tensor | None, config: ObjectiveConfig
) -> Inputs:
    """Everything that the terms read: images and masked copies in one pass, then the effects."""
    parts, size = parts_read(config), len(images)
    attention: ExtractorAttention = "none"
    if "extractor_attention" in parts:
        attention = "gradient" if config.attention_gradient else "constant"
    interpret = size if "interpreter" in parts else 0
    count = round(config.masked_share * size) if "copies" in parts else 0
    copies = None
    if count:
        height, width = model.grid
        visible = draw_visible(count, height * width, images.device)
        masked = mask_images(images[:count], visible, model.grid)
        # Of the copies only the prediction is asked for.
        whole = model(torch.cat([images, masked]), interpret=interpret, attention=attention)
        logits, masked_logits = whole.logits.tensor_split([size])
        output = replace(whole, logits=logits, tokens=whole.tokens[:size])
        copies = MaskedCopies(visible, masked_logits)
    else:
        output = model(images, interpret=interpret, attention=attention)
    effect = _effect_sample(model, images, output, config) if "effect" in parts else None
    return Inputs(output, labels, copies, effect)


def _effect_sample(
    model: IAViT, images: Tensor, output: Output, config: ObjectiveConfig
) -> EffectSample | None:
    """Of the first images; None where the share of the batch is less than half an image.

    The predictor's head is not moved, and the extractor only where no branch stands between.
    """
    count = round(config.effect_share * len(images))
    if not count:
        return None
    classes = output.logits[:count].argmax(dim=1)
    with evaluating(model):
        effects = patch_effects(model.predict, images[:count], classes, model.grid)
    contributions = model.interpreter.contributions_to(output.interpreter_tokens[:count], classes)
    return EffectSample(contributions, output.interpreter_attention[:count], effects)


@torch.no_grad()
def _accuracies(inputs: Inputs) -> dict[str, Tensor]:
    """The share of images that each branch gets right, and of those where they agree.

    Mixed images count by their larger part.
    """
    labels, output = inputs.labels, inputs.output
    branches = {"predictor": output.logits, "interpreter": output.interpreter_logits}
    classes = {name: logits.argmax(dim=1) for name, logits in branches.items() if len(logits)}
    shares = {}
    if labels is not None:
        truth = labels if labels.ndim == 1 else labels.argmax(dim=1)
        shares = {
            f"{name}_accuracy": (chosen == truth).float().mean() for name, chosen in classes.items()
        }
    if "interpreter" in classes:
        shares["agreement"] = (classes["interpreter"] == classes["predictor"]).float().mean()
    return shares
