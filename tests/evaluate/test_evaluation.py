"""What an evaluation says of an explainer or a group; how it is written is in the JSON's tests."""

from __future__ import annotations

from iavit.evaluate.evaluation import Fairness, Figure, Group
from tests.report import evaluation, parsed


def test_the_figures_of_an_explainer_are_of_both_sections() -> None:
    found = parsed(evaluation())
    figures = found.figures("rollout")
    assert list(figures) == [
        "deletion",
        "insertion",
        "difference",
        "pointing_game",
        "evidence_mass",
    ]
    assert figures["insertion"].mean == 0.6091
    assert figures["pointing_game"].mean == 0.8765
    assert found.figures("saliency") == {}


def test_the_worst_group_has_its_accuracy() -> None:
    groups = {
        name: Group(images, False, {"accuracy": Figure(mean, mean - 0.1, mean + 0.1)})
        for name, images, mean in (("young", 31, 0.75), ("old", 37, 0.5))
    }
    fairness = Fairness("age", {}, groups, "old", {})
    assert fairness.worst_accuracy == Figure(0.5, 0.4, 0.6)
    assert Fairness("age", {}, groups, None, {}).worst_accuracy is None
