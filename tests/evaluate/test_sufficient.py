"""Sufficient patches: coverage where it is known, and what an evaluation says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from iavit.data.images import InMemory
from iavit.data.sampling import sample
from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.evaluate.evaluation import Sufficient
from iavit.evaluate.measurement import Part, joined
from iavit.evaluate.pieces import Works, pieces_of
from iavit.evaluate.sufficient import (
    IMAGES,
    Promise,
    audit_sufficient,
    conformal_quantile,
    images_needed,
    smallest_kept,
)
from iavit.explain import EXPLAINERS, Explainer
from iavit.masking.engine import masked_answers
from iavit.model.iavit import IAViT
from iavit.types import Explanation


def test_the_smallest_count_from_which_on_the_answer_stays() -> None:
    counts = torch.tensor([0, 1, 3, 7])
    kept = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1]], dtype=torch.bool)
    assert smallest_kept(kept, counts).tolist() == [0, 3, 3, 7]


def test_the_quantile_is_the_one_of_one_more_image() -> None:
    scores = torch.arange(1, 20)  # 19 of them: 0.9 * 20 = 18
    assert int(conformal_quantile(scores.flip(0), 0.9)) == 18
    assert int(conformal_quantile(scores, 0.95)) == 19
    assert int(conformal_quantile(scores, 0.05)) == 1
    with pytest.raises(UserError, match=r"`coverage` 0.96 needs at least 24 .* there are 19"):
        conformal_quantile(scores, 0.96)


@pytest.mark.parametrize(("count", "coverage"), [(19, 0.9), (40, 0.8), (99, 0.9)])
def test_coverage_on_a_toy_where_it_is_known(count: int, coverage: float) -> None:
    """Scores uniform on (0, 1): the coverage of the k-th of n is k / (n + 1) on average."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(20_000, count, generator=generator)
    reached = torch.stack([conformal_quantile(row, coverage) for row in scores])
    expected = math.ceil((count + 1) * coverage) / (count + 1)
    error = float(reached.std()) / math.sqrt(len(scores))
    assert float(reached.mean()) == pytest.approx(expected, abs=4 * error)
    assert expected >= coverage


@pytest.fixture(scope="module")
def model() -> IAViT:
    """Weights at random, large enough for answers that differ between images of noise."""
    torch.manual_seed(0)
    made = IAViT.create("vit_digits", 3, 32).eval()
    for parameter in made.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.4)
    return made


def test_the_fewest_images_that_can_promise() -> None:
    assert [images_needed(coverage) for coverage in (0.5, 0.8, 0.9, 0.95, 0.99)] == [
        1,
        4,
        9,
        19,
        99,
    ]
    assert conformal_quantile(torch.arange(9), 0.9) == 8


def images(count: int, seed: int) -> InMemory:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return InMemory(pixels, torch.zeros(count).long(), Normalisation())


def carry_out(stage: str, works: Works) -> dict[str, Part]:
    """All in this process, with nothing kept."""
    return {
        subject: joined(
            [
                work.measure(work.images[range(start, stop)], start)
                for piece in pieces_of(subject, 0, len(work.images), 50)
                for start, stop in piece.batches
            ]
        )
        for subject, work in works.items()
    }


def audited(
    model: IAViT,
    calibration: InMemory,
    test: InMemory,
    explainers: Mapping[str, Explainer],
    coverage: float,
) -> Sufficient:
    return audit_sufficient(model, Promise(coverage, calibration), test, explainers, carry_out)


def test_new_images_keep_their_answer_as_often_as_promised(model: IAViT) -> None:
    """A calibration is one draw of what its coverage may be: k of n + 1 on average."""
    calibration, test = images(99, 1), images(200, 2)
    explainers = {name: EXPLAINERS[name] for name in ("contributions", "random")}
    found = audited(model, calibration, test, explainers, 0.8)
    assert (found.coverage_asked, found.calibrated_on, found.tested_on) == (0.8, 99, 200)
    for patches in found.explainers.values():
        assert 0 < patches.patches <= 64
        assert patches.share_of_patches.mean == patches.patches / 64
        assert patches.coverage.mean is not None
        # Of 200 images a share whose true value varies by 0.04 with the calibration.
        assert patches.coverage.mean > 0.8 - 3 * math.sqrt(0.04**2 + 0.8 * 0.2 / 200)


def test_the_coverage_is_that_of_the_patches_named(model: IAViT) -> None:
    test = images(40, 3)

    def from_above(of: nn.Module, given: Tensor, targets: Tensor) -> Explanation:
        columns = torch.arange(64.0).flip(0).view(1, 8, 8).expand(len(given), -1, -1)
        return Explanation(columns, targets, "rows from above")

    found = audited(model, images(60, 4), test, {"above": from_above}, 0.7).explainers["above"]
    shown = (torch.arange(64) < found.patches).view(1, 1, 8, 8).expand(40, -1, -1, -1)
    batch = test[range(40)]
    with torch.no_grad():
        targets = model(batch.images).logits.argmax(-1)
    kept = masked_answers(model, batch.images, targets, shown).chosen.float().mean()
    assert found.coverage.mean == pytest.approx(float(kept))


def test_no_more_images_are_used_than_are_said(model: IAViT) -> None:
    many = replace(images(1, 0), pixels=torch.zeros(IMAGES + 9, 3, 32, 32).byte())
    many = replace(many, labels=torch.zeros(IMAGES + 9).long())
    explainers = {"contributions": EXPLAINERS["contributions"]}
    found = audited(model, sample(many, 30), many, explainers, 0.5)
    assert (found.calibrated_on, found.tested_on) == (30, IMAGES)


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.1, 90.0])
def test_what_is_no_coverage(coverage: float) -> None:
    with pytest.raises(UserError, match="`coverage`"):
        Promise(coverage, images(9, 0))
