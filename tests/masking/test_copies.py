"""Masked copies made of pixels or of tokens; shortened ones are in the engine's tests."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from docs.families import Family, small

from iavit.masking.engine import (
    Perturbation,
    masked_answers,
    ranked_answers,
)
from iavit.masking.substrates import SUBSTRATES
from iavit.model.extractor import Extractor
from tests.masking.models import TARGETS, pictures, ranks
from tests.model.test_families import families, images


@pytest.mark.parametrize("name", ["zeros", "mean", "black", "blur", "noise", "linear"])
def test_every_substrate_equals_a_copy_masked_by_hand(model: Any, name: str) -> None:
    substrate = SUBSTRATES[name]
    found = ranked_answers(
        model, pictures(), TARGETS, ranks(), [(0, 2), (2, 6)], Perturbation(substrate)
    )
    for i in range(3):
        image = pictures()[i : i + 1]
        for column, (low, high) in enumerate([(0, 2), (2, 6)]):
            visible = torch.zeros(1, 1, 48, 32, dtype=torch.bool)
            for row in range(3):
                for at in range(2):
                    shown = low <= int(ranks()[i, row, at]) < high
                    visible[:, :, 16 * row : 16 * row + 16, 16 * at : 16 * at + 16] = shown
            filled = substrate.fill(image, visible) if name == "linear" else substrate(image)  # type: ignore[union-attr,operator]
            with torch.no_grad():
                logits = model(torch.where(visible, image, filled))[0]
            expected = logits.softmax(dim=-1)[TARGETS[i]]
            assert float(found.scores[i, column]) == pytest.approx(float(expected), abs=1e-12)
            assert bool(found.chosen[i, column]) == (int(logits.argmax()) == int(TARGETS[i]))


def test_dropped_copies_are_sequences_of_what_is_shown(model: Any) -> None:
    how = Perturbation(SUBSTRATES["drop"], score="logit")
    found = ranked_answers(model, pictures(), TARGETS, ranks(), [(0, 2), (3, 6)], how)
    extractor = Extractor(model)
    for i in range(3):
        for column, (low, high) in enumerate([(0, 2), (3, 6)]):
            place = ranks()[i].flatten()
            shown = ((place >= low) & (place < high)).nonzero()[:, 0][None]
            with torch.no_grad():
                left = extractor.only(extractor.embed(pictures()[i : i + 1]), shown)
                expected = extractor.predict(extractor.walk(left))[0, TARGETS[i]]
            assert float(found.scores[i, column]) == pytest.approx(float(expected), abs=1e-12)


@families
def test_embedded_patches_chosen_are_pixels_masked(family: Family) -> None:
    """Ranked on the grid, and the same pixels by masks on a finer one: pixel masking."""
    backbone = small(family).double()
    shown = torch.rand(2, 3, 3, 2, generator=torch.Generator().manual_seed(3)) < 0.5
    finer = shown.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    how = Perturbation(SUBSTRATES["noise"], score="logit")
    found, expected = (
        masked_answers(backbone, images(backbone).double(), TARGETS[:2], visible, how).scores
        for visible in (shown, finer)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_copies_are_chosen_among_tokens_where_patches_are_embedded_alone(model: Any) -> None:
    """The stem sees each image once, and the substrate once."""
    seen: list[int] = []
    hook = model.patch_embed.register_forward_hook(
        lambda _m, inputs, _o: seen.append(len(inputs[0]))
    )
    ranked_answers(model, pictures(), TARGETS, ranks(), [(0, k) for k in range(7)])
    hook.remove()
    assert seen == [3, 1]
