"""What a measure is read off: a batch with its explanations, or all the answers of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor, nn

from iavit.evaluate.faithfulness import POINTS, Curves, curves
from iavit.explain import Explainer
from iavit.masking.engine import Perturbation
from iavit.masking.substrates import SUBSTRATES, Substrate
from iavit.types import Batch, Explanation


def _zeros() -> Mapping[str, Substrate]:
    return {"zeros": SUBSTRATES["zeros"]}


@dataclass(frozen=True)
class Explained:
    """The images of a batch as one explainer explains them.

    explain: the explainer, for measures that ask it again; None where it is not at hand.
    substrates: what stands for hidden patches, by name; measures read the curves of the first.
    points: of each curve.
    perturbation: score, memory bound and precision of the masked copies.
    """

    model: nn.Module
    batch: Batch
    explanation: Explanation
    explain: Explainer | None = None
    substrates: Mapping[str, Substrate] = field(default_factory=_zeros)
    points: int = POINTS
    perturbation: Perturbation = field(default_factory=Perturbation)

    @cached_property
    def curves(self) -> dict[str, Curves]:
        """Deletion and insertion curves on each substrate, computed once for all measures."""
        return {
            name: curves(
                self.model,
                self.batch,
                self.explanation,
                points=self.points,
                perturbation=replace(self.perturbation, substrate=substrate),
            )
            for name, substrate in self.substrates.items()
        }

    @property
    def first_curves(self) -> Curves:
        """The curves on the first substrate."""
        return next(iter(self.curves.values()))

    @property
    def on_first_substrate(self) -> Perturbation:
        """How copies are masked on the first substrate."""
        return replace(self.perturbation, substrate=next(iter(self.substrates.values())))


@dataclass(frozen=True)
class Predicted:
    """What a model answers on n images, all of those that are measured.

    labels: (n,) int64.
    logits, interpreter_logits: (n, C), the predictor's and the interpreter's; the latter None
        for a model without an interpreter.
    trust: (n,), see `evaluate.trust`; None without an interpreter.
    groups: (n,) int64, the sensitive attribute; None where images are of no groups.
    """

    labels: Tensor
    logits: Tensor
    interpreter_logits: Tensor | None = None
    trust: Tensor | None = None
    groups: Tensor | None = None
