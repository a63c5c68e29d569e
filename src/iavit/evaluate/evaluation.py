"""What was measured of a model, as types; `evaluation_json` writes and reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """A mean over images and its 95 % interval; all None where no image has a value."""

    mean: float | None
    low: float | None
    high: float | None


UNDEFINED = Figure(None, None, None)
Figures = Mapping[str, Figure]  # metric to figure


@dataclass(frozen=True)
class Comparison:
    """The mean of `a - b` in one metric, image by image, and whether it is more than noise.

    p: of the sign-flip permutation test, two-sided.
    adjusted_p: the same, corrected for all comparisons that were made at once.
    inside_noise: the interval contains 0, or `adjusted_p` is above 0.05.
    """

    metric: str
    a: str
    b: str
    figure: Figure
    p: float | None
    adjusted_p: float | None
    inside_noise: bool


@dataclass(frozen=True)
class CurveBands:
    """The mean of the curves over images at each of P fractions, and its interval there.

    Of a single image there is none: its ends are empty.
    """

    fractions: tuple[float, ...]
    deletion: tuple[float, ...]
    deletion_low: tuple[float, ...]
    deletion_high: tuple[float, ...]
    insertion: tuple[float, ...]
    insertion_low: tuple[float, ...]
    insertion_high: tuple[float, ...]


@dataclass(frozen=True)
class Faithfulness:
    """What one explainer showed.

    figures: of the section `faithfulness` of `METRICS`, on the first substrate.
    seconds_per_image: that explaining took.
    substrates: substrate to deletion, insertion and difference; empty with a single one.
    """

    figures: Figures
    seconds_per_image: float
    curves: CurveBands
    substrates: Mapping[str, Figures] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """A group of images: how many, whether so few that figures are hardly more than noise.

    figures: of the predictions. explanations: explainer to figures of its explanations.
    """

    images: int
    small: bool
    figures: Figures
    explanations: Mapping[str, Figures] = field(default_factory=dict)


@dataclass(frozen=True)
class Fairness:
    """Gaps between the groups of an attribute.

    gaps: of predictions. explanation_gaps: explainer to gaps of what was measured of it.
    worst_group: that of the lowest accuracy; None with a single group.
    undefined: a sentence for each gap that is not defined, and why.
    authors: the notebook's own figures under the notebook's names; empty where not asked for.
    """

    attribute: str
    gaps: Figures
    by_group: Mapping[str, Group]
    worst_group: str | None
    explanation_gaps: Mapping[str, Figures]
    undefined: tuple[str, ...] = ()
    authors: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def worst_accuracy(self) -> Figure | None:
        """The accuracy of the worst group."""
        if self.worst_group is None:
            return None
        return self.by_group[self.worst_group].figures["accuracy"]


@dataclass(frozen=True)
class SufficientPatches:
    """How few of an explainer's first patches keep the answer.

    patches: that many, the same for every image. share_of_patches: of all.
    coverage: share of the test images whose answer they keep.
    """

    patches: int
    coverage: Figure
    share_of_patches: Figure


@dataclass(frozen=True)
class Sufficient:
    """Patches that keep the answer of new images, in a share `coverage_asked` of them at least.

    calibrated_on: validation images that the numbers are from. tested_on: images whose coverage
        was measured.
    """

    coverage_asked: float
    calibrated_on: int
    tested_on: int
    explainers: Mapping[str, SufficientPatches]


@dataclass(frozen=True)
class Provenance:
    """What measured it. commit: None outside of a checkout; seconds: that the audit took."""

    version: str
    commit: str | None
    seed: int
    torch: str
    device: str
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """All that was measured of a model on the images of one split.

    images: that were measured. images_left_out: that could not be read.
    drawn_from: how many there are, where those measured are a draw of `data.sampling`; else None.
    prediction: of the section `prediction` of `METRICS`: figures, and plain numbers such as ECE.
    trust_correlation: explainer to how trust goes with its `difference` over images.
    localisation: explainer to figures of the section `localisation`; empty without evidence.
    comparisons: of the first explainer with each other one.
    explainers_left_out: explainer to why it refused the model.
    protocols: protocol to explainer to figures.
    fairness: None where the images are of no groups.
    confusion: images of each true class by the class that the predictor names, (C, C); empty
        where they were not counted.
    sufficient: None where no coverage was asked for.
    """

    dataset: str
    split: str
    images: int
    images_left_out: int
    explained_class: Literal["predicted", "true"]
    score: Literal["probability", "logit"]
    provenance: Provenance
    prediction: Mapping[str, Figure | float | None]
    faithfulness: Mapping[str, Faithfulness]
    localisation: Mapping[str, Figures]
    comparisons: tuple[Comparison, ...]
    trust_correlation: Figures = field(default_factory=dict)
    explainers_left_out: Mapping[str, str] = field(default_factory=dict)
    protocols: Mapping[str, Mapping[str, Figures]] = field(default_factory=dict)
    fairness: Fairness | None = None
    confusion: tuple[tuple[int, ...], ...] = ()
    sufficient: Sufficient | None = None
    drawn_from: int | None = None

    def figures(self, explainer: str) -> Figures:
        """All figures of an explainer, of faithfulness and localisation; empty for unknown ones."""
        if explainer not in self.faithfulness:
            return {}
        return {
            **self.faithfulness[explainer].figures,
            **self.localisation.get(explainer, {}),
        }
