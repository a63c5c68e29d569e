from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
import torch
from fairlearn import metrics as fairlearn
from torch import Tensor

from iavit.config import Config, DataConfig
from iavit.data.datasets import load_dataset
from iavit.evaluate import confusion
from iavit.evaluate.audit import audit
from iavit.evaluate.evaluation import UNDEFINED, Evaluation
from iavit.evaluate.fairness import Answers, Names, fairness, fairness_of
from iavit.evaluate.subjects import Predicted
from iavit.explain import EXPLAINERS
from iavit.model.iavit import IAViT
from tests.reference import fairness as reference

BINARY = Names("sex", ("women", "men"), ("no", "yes"))
GAPS = ("accuracy", "balanced_accuracy", "demographic_parity", "equal_opportunity")

# Group, true class, predicted class and how many: women tp 30, fn 10, fp 20, tn 40;
# men tp 12, fn 18, fp 3, tn 17.
TOLD = [
    (0, 1, 1, 30), (0, 1, 0, 10), (0, 0, 1, 20), (0, 0, 0, 40),
    (1, 1, 1, 12), (1, 1, 0, 18), (1, 0, 1, 3), (1, 0, 0, 17),
]  # fmt: skip


def answers(rows: list[tuple[int, int, int, int]]) -> Answers:
    columns = [
        torch.tensor([row[column] for row in rows for _ in range(row[3])]) for column in range(3)
    ]
    groups, labels, predicted = columns
    return Answers(labels, predicted, groups)


def drawn(classes: int, groups: int, count: int = 211) -> Answers:
    generator = torch.Generator().manual_seed(3)
    labels, predicted, of = (
        torch.randint(high, (count,), generator=generator) for high in (classes, classes, groups)
    )
    predicted = torch.where(torch.rand(count, generator=generator) < 0.6, labels, predicted)
    return Answers(labels, predicted, of, (predicted == labels).float())


def names(classes: int, groups: int) -> Names:
    return Names("g", tuple(f"g{n}" for n in range(groups)), tuple(f"c{n}" for n in range(classes)))


def test_one_confusion_matrix_by_hand_properly_and_as_the_notebook_has_it() -> None:
    found = fairness(answers(TOLD), BINARY, authors=True)
    properly = {
        "accuracy": 70 / 100 - 29 / 50,
        "balanced_accuracy": (30 / 40 + 40 / 60) / 2 - (12 / 30 + 17 / 20) / 2,
        "demographic_parity": 50 / 100 - 15 / 50,
        "equal_opportunity": 30 / 40 - 12 / 30,
        "equalised_odds": 30 / 40 - 12 / 30,  # of false positives: 20 / 60 - 3 / 20, less
    }
    assert {name: of.mean for name, of in found.gaps.items()} == pytest.approx(properly)
    women, men = found.by_group["women"], found.by_group["men"]
    assert women.figures["true_positive_rate"].mean == pytest.approx(0.75)
    assert women.figures["false_positive_rate"].mean == pytest.approx(1 / 3)
    assert men.figures["selection_rate"].mean == pytest.approx(0.3)
    assert found.worst_group == "men"
    assert found.undefined == ()
    # The notebook's "TPR" is precision, its "TNR" 40 / 50 and 17 / 35, its "FPR" what is left.
    tpr, tnr = (30 / 50, 12 / 15), (40 / 50, 17 / 35)
    assert found.authors == pytest.approx(
        {
            "Accuracy": (0.70 + 0.58) / 2,
            "DP_Acc": 0.12,
            "DP": tpr[1] - tpr[0],
            "BA": (sum(tpr) + sum(tnr)) / 4,
            "Equal Odds": (tpr[1] - tpr[0]) / 2 + (tnr[0] - tnr[1]) / 2,
            "Difference BA": abs(tpr[0] + tnr[0] - tpr[1] - tnr[1]) / 2,
        }
    )


@pytest.mark.parametrize(("classes", "groups"), [(2, 2), (2, 5), (3, 2), (5, 3)])
def test_gaps_are_the_twins_and_fairlearns(classes: int, groups: int) -> None:
    of = drawn(classes, groups)
    found = fairness(of, names(classes, groups)).gaps
    rows = list(zip(of.groups.tolist(), of.labels.tolist(), of.predicted.tolist(), strict=True))
    slow = reference.gaps(rows, classes, groups)
    assert set(found) == {*slow, "agreement"}
    for name, value in slow.items():
        assert found[name].mean == pytest.approx(value), name
    counts = confusion.confusions(
        of.labels.numpy(), of.predicted.numpy(), of.groups.numpy(), (groups, classes)
    )
    for name, counted in confusion.gaps(counts).items():  # the counts, whose draws are the interval
        assert float(counted) == pytest.approx(slow[name]), name
    if classes == 2:
        odds = fairlearn.equalized_odds_difference(
            of.labels, of.predicted, sensitive_features=of.groups
        )
        assert found["equalised_odds"].mean == pytest.approx(odds)


def test_intervals_are_those_of_images_drawn_anew_within_each_group() -> None:
    of = answers(TOLD)
    found = fairness(of, BINARY).gaps
    generator = np.random.default_rng(7)
    rows = np.stack([of.groups.numpy(), of.labels.numpy(), of.predicted.numpy()], axis=1)
    parts = [rows[rows[:, 0] == group] for group in (0, 1)]
    draws: dict[str, list[float]] = {}
    for _ in range(400):
        again = np.concatenate([p[generator.integers(len(p), size=len(p))] for p in parts])
        for name, value in reference.gaps([tuple(r) for r in again.tolist()], 2, 2).items():
            draws.setdefault(name, []).append(value)
    for name in GAPS:
        low, high = np.percentile(draws[name], [2.5, 97.5])
        assert found[name].low == pytest.approx(low, abs=0.05), name
        assert found[name].high == pytest.approx(high, abs=0.05), name
    men = fairness(of, BINARY).by_group["men"].figures["true_positive_rate"]
    spread = 1.96 * (0.4 * 0.6 / 30) ** 0.5  # about: the images of each class vary, too
    assert (men.low, men.high) == pytest.approx((0.4 - spread, 0.4 + spread), abs=0.04)


def test_a_group_without_positives_has_no_rate_and_the_gap_says_so() -> None:
    rows = [(0, 1, 1, 5), (0, 0, 0, 5), (1, 0, 0, 8), (1, 0, 1, 2)]
    found = fairness(answers(rows), BINARY)
    for name in ("equal_opportunity", "equalised_odds", "balanced_accuracy"):
        assert found.gaps[name] == UNDEFINED
    assert found.gaps["demographic_parity"].mean == pytest.approx(0.3)
    assert found.by_group["men"].figures["true_positive_rate"].mean is None
    assert found.undefined == (
        "group 'men' has no image of class 'yes': equal_opportunity and equalised_odds are not "
        "defined",
        "group 'men' lacks a class: balanced_accuracy is not defined",
    )
    all_yes = fairness(answers([(0, 1, 1, 5), (0, 0, 0, 5), (1, 1, 0, 8)]), BINARY)
    assert all_yes.undefined[0] == (
        "group 'men' has no image of another class than 'yes': equalised_odds are not defined"
    )
    assert fairlearn.equal_opportunity_difference(  # which fairlearn takes for a rate of 0
        answers(rows).labels, answers(rows).predicted, sensitive_features=answers(rows).groups
    ) == pytest.approx(1.0)


def test_of_many_classes_the_one_that_a_group_lacks_is_left_out_and_named() -> None:
    rows = [(g, c, c, 4 + g + c) for g in range(2) for c in range(3) if (g, c) != (1, 2)]
    rows.append((0, 2, 0, 3))
    found = fairness(answers(rows), names(3, 2))
    assert found.gaps["equal_opportunity"].mean == pytest.approx(0.0)
    assert found.gaps["balanced_accuracy"].mean is None
    assert found.undefined == (
        "group 'g1' has no image of class 'c2': equal_opportunity and equalised_odds leave this "
        "class out",
        "group 'g1' lacks a class: balanced_accuracy is not defined",
    )


def test_a_constant_group_an_absent_group_and_small_groups_are_told() -> None:
    of = answers([(2, 1, 1, 40), (2, 0, 0, 40)])
    found = fairness(of, names(2, 3))
    assert found.gaps == {}
    assert list(found.by_group) == ["g2"]
    assert "nothing to compare" in found.undefined[-1]
    assert "group 'g0' has no image" in found.undefined
    found = fairness(answers([(0, 1, 1, 30), (1, 1, 1, 29)]), BINARY)
    assert [group.small for group in found.by_group.values()] == [False, True]


def test_explanations_are_compared_between_groups() -> None:
    groups = torch.tensor([0, 0, 0, 1, 1, 2])
    of = Answers(groups % 2, groups % 2, groups)
    nan = float("nan")
    measured: dict[str, dict[str, Tensor]] = {
        "interpreter": {
            "difference": torch.tensor([0.2, 0.4, 0.6, 0.1, 0.3, 0.9]),
            "pointing_game": torch.tensor([1.0, 0.0, nan, 1.0, 1.0, nan]),
            "deletion": torch.zeros(6),
        }
    }
    found = fairness(of, names(2, 3), measured)
    assert set(found.explanation_gaps["interpreter"]) == {"difference", "pointing_game"}
    difference = found.explanation_gaps["interpreter"]["difference"]
    assert difference.mean == pytest.approx(0.9 - 0.2)
    mean, low, high = astuple(difference)
    assert low <= mean <= high
    generator = np.random.default_rng(0)
    drawn = [
        members[generator.integers(len(members), size=(2000, len(members)))].mean(axis=1)
        for members in (np.array([0.2, 0.4, 0.6]), np.array([0.1, 0.3]), np.array([0.9]))
    ]
    gaps = np.max(drawn, axis=0) - np.min(drawn, axis=0)
    assert (low, high) == pytest.approx(tuple(np.percentile(gaps, [2.5, 97.5])), abs=1e-6)
    assert found.explanation_gaps["interpreter"]["pointing_game"].mean is None
    of_first = found.by_group["g0"].explanations["interpreter"]
    assert of_first["difference"].mean == pytest.approx(0.4)
    assert of_first["pointing_game"].mean == pytest.approx(0.5)


def test_the_audit_has_it_where_images_are_of_groups() -> None:
    model = IAViT.create("vit_digits", 10, 32)
    explainers = {name: EXPLAINERS[name] for name in ("interpreter",)}

    def audited(shortcut: float) -> Evaluation:
        splits = load_dataset(Config(data=DataConfig("digits", shortcut=shortcut)))
        called = Names(splits.attribute, splits.groups, splits.classes)
        images = splits.test.chosen(torch.arange(23))
        return audit(model, images, explainers, dataset="digits", seed=0, names=called)

    assert audited(0.0).fairness is None
    found = audited(0.9).fairness
    assert found is not None
    assert found.attribute == "mark colour"
    assert set(found.by_group) <= set(load_dataset(
        Config(data=DataConfig("digits", shortcut=0.9))
    ).groups)  # fmt: skip
    assert sum(group.images for group in found.by_group.values()) == 23
    for group in found.by_group.values():
        assert group.small
        assert "shortcut_mass" in group.explanations["interpreter"]
        assert group.figures["agreement"].mean is not None
    assert "agreement" in found.gaps


def test_groups_and_classes_without_names_are_called_by_their_numbers() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    labels, groups = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 1])
    assert fairness_of(Predicted(labels, logits), {}) is None
    found = fairness_of(Predicted(labels, logits, groups=groups), {})
    assert found is not None
    assert found.attribute == "group"
    assert {name: group.figures["accuracy"].mean for name, group in found.by_group.items()} == {
        "0": 1.0,
        "1": 0.5,
    }
    assert "agreement" not in found.gaps  # there is no interpreter
