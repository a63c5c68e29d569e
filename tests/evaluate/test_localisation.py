from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from iavit.evaluate.localisation import (
    evidence_mass,
    pointing_game,
    relevance_rank_accuracy,
    shortcut_mass,
)
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation
from tests.reference import evaluate as twin


@pytest.fixture
def model() -> IAViT:
    return IAViT.create("vit_digits", num_classes=10)


def of(maps: Tensor) -> Explanation:
    return Explanation(maps, torch.zeros(len(maps), dtype=torch.long), "test")


def with_evidence(evidence: Tensor) -> Batch:
    count, height, width = evidence.shape
    labels = torch.zeros(count, dtype=torch.long)
    return Batch(torch.zeros(count, 3, height, width), labels, evidence=evidence)


def test_by_hand(model: IAViT) -> None:
    """A 2 x 3 map over 4 x 6 pixels: each cell is 2 x 2 pixels."""
    evidence = torch.zeros(1, 4, 6, dtype=torch.bool)
    evidence[0, 0:2, 1:4] = True  # half of cell (0, 0), all of cell (0, 1)
    batch = with_evidence(evidence)
    maps = torch.tensor([[[2.0, 5.0, 1.0], [0.0, -3.0, 2.0]]])
    assert pointing_game(model, batch, of(maps)).tolist() == [1.0]
    # (2 * 1/2 + 5) / (2 + 5 + 1 + 2); what is negative does not count
    assert evidence_mass(model, batch, of(maps)).tolist() == pytest.approx([0.6])
    away = torch.tensor([[[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]])
    assert pointing_game(model, batch, of(away)).tolist() == [0.0]
    assert evidence_mass(model, batch, of(away)).tolist() == [0.0]


def test_equal_maxima_share_the_answer(model: IAViT) -> None:
    evidence = torch.zeros(1, 4, 6, dtype=torch.bool)
    evidence[0, :2, :2] = True
    constant = of(torch.ones(1, 2, 3))
    found = pointing_game(model, with_evidence(evidence), constant)
    assert found.tolist() == pytest.approx([1 / 6])


def test_equal_to_the_twins(model: IAViT) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(5, 3, 5, generator=generator, dtype=torch.float64)
    evidence = torch.rand(5, 9, 15, generator=generator) < 0.4
    batch, explanation = with_evidence(evidence), of(maps)
    points = [twin.pointing_game(m, e) for m, e in zip(maps, evidence, strict=True)]
    masses = [twin.evidence_mass(m, e) for m, e in zip(maps, evidence, strict=True)]
    assert pointing_game(model, batch, explanation).tolist() == pytest.approx(points)
    assert evidence_mass(model, batch, explanation).tolist() == pytest.approx(masses)


def test_an_image_without_evidence_is_undefined(model: IAViT) -> None:
    evidence = torch.zeros(2, 4, 6, dtype=torch.bool)
    evidence[0, 0, 0] = True
    batch, explanation = with_evidence(evidence), of(torch.rand(2, 2, 3))
    for metric in (pointing_game, evidence_mass, relevance_rank_accuracy):
        assert metric(model, batch, explanation).isnan().tolist() == [False, True]


def test_images_that_have_no_evidence_are_refused(model: IAViT) -> None:
    batch = replace(with_evidence(torch.ones(2, 4, 6, dtype=torch.bool)), evidence=None)
    for metric in (pointing_game, evidence_mass, relevance_rank_accuracy):
        with pytest.raises(ValueError, match="localisation needs a batch with evidence"):
            metric(model, batch, of(torch.rand(2, 2, 3)))


def test_a_map_without_positive_values_has_no_mass(model: IAViT) -> None:
    batch = with_evidence(torch.ones(1, 4, 6, dtype=torch.bool))
    assert evidence_mass(model, batch, of(-torch.ones(1, 2, 3))).tolist() == [0.0]


def test_mass_on_the_shortcut_is_that_of_the_evidence_on_its_pixels(model: IAViT) -> None:
    generator = torch.Generator().manual_seed(0)
    region = torch.rand(5, 9, 15, generator=generator) < 0.4
    region[3] = False
    explanation = of(torch.randn(5, 3, 5, generator=generator))
    marked = replace(with_evidence(~region), shortcut=region)
    score = shortcut_mass(model, marked, explanation)
    same = evidence_mass(model, with_evidence(region), explanation)
    assert torch.equal(score.nan_to_num(-1), same.nan_to_num(-1))
    with pytest.raises(ValueError, match="marks"):
        shortcut_mass(model, with_evidence(region), explanation)


def test_rank_accuracy_by_hand(model: IAViT) -> None:
    """A map in pixels; 4 of evidence: of the 4 highest, 9, 8 and 7 are, and 6 is not."""
    maps = torch.tensor([[[9.0, 1.0, 8.0], [2.0, 7.0, 6.0]]])
    evidence = torch.tensor([[[True, True, True], [False, True, False]]])
    found = relevance_rank_accuracy(model, with_evidence(evidence), of(maps))
    assert found.tolist() == [0.75]
    # One of the 4 is left to draw among 6, 6 and 6, of which one is evidence.
    tied = torch.tensor([[[9.0, 6.0, 8.0], [6.0, 7.0, 6.0]]])
    found = relevance_rank_accuracy(model, with_evidence(evidence), of(tied))
    assert found.tolist() == pytest.approx([(3 + 1 / 3) / 4])


def test_rank_accuracy_equals_its_twin_and_knows_the_extremes(model: IAViT) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(-2, 3, (7, 3, 5), generator=generator).double()
    evidence = torch.rand(7, 9, 15, generator=generator) < 0.4
    found = relevance_rank_accuracy(model, with_evidence(evidence), of(maps))
    expected = [twin.relevance_rank_accuracy(m, e) for m, e in zip(maps, evidence, strict=True)]
    assert found.tolist() == pytest.approx(expected)
    for heat, value in ((evidence.float(), 1.0), (1 - evidence.float(), 0.0)):
        score = relevance_rank_accuracy(model, with_evidence(evidence), of(heat))
        most = evidence.flatten(1).double().mean(dim=1)  # the worst map still has to hit some
        floor = (2 - 1 / most).clamp_min(0) if value == 0 else torch.ones(7)
        assert score.tolist() == pytest.approx(floor.tolist(), abs=1e-6)
    constant = relevance_rank_accuracy(model, with_evidence(evidence), of(torch.ones(7, 3, 5)))
    share = evidence.flatten(1).float().mean(dim=1)
    assert constant.tolist() == pytest.approx(share.tolist())
