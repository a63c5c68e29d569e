from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.evaluate.faithfulness import curves, road
from iavit.masking import engine
from iavit.masking.engine import (
    Perturbation,
    masked_answers,
    on_units,
    patch_ranks,
    ranked_answers,
)
from iavit.masking.substrates import SUBSTRATES
from iavit.types import Batch, Explanation
from tests.evaluate.models import additive
from tests.masking.models import TARGETS, pictures, ranks, vit


@contextmanager
def passes(model: Any) -> Iterator[list[tuple[int, int]]]:
    """(copies, tokens) of every forward pass."""
    seen: list[tuple[int, int]] = []
    hook = model.blocks[0].norm1.register_forward_hook(
        lambda _part, inputs, _output: seen.append(tuple(inputs[0].shape[:2]))
    )
    yield seen
    hook.remove()


def test_nothing_is_computed_twice(model: Any) -> None:
    """Insertion and deletion: the whole image once each, the empty one once for all."""
    ranges = [(k, 6) for k in range(7)] + [(0, k) for k in range(7)] + [(0, 3), (2, 2)]
    with passes(model) as seen:
        found = ranked_answers(model, pictures(), TARGETS, ranks(), ranges)
    assert sum(copies for copies, _ in seen) == 3 * (5 + 5 + 1) + 1
    assert torch.equal(found.scores[:, 0], found.scores[:, 13])
    assert torch.equal(found.scores[:, 6], found.scores[:, 7])
    assert torch.equal(found.scores[:, 14], found.scores[:, 10])
    with passes(model) as seen:  # each image's mean is its own
        ranked_answers(
            model, pictures(), TARGETS, ranks(), ranges, Perturbation(SUBSTRATES["mean"])
        )
    assert sum(copies for copies, _ in seen) == 3 * (5 + 5 + 2)


@pytest.mark.parametrize("name", ["zeros", "mean", "drop"])
def test_no_pass_holds_more_copies_than_it_may(model: Any, name: str) -> None:
    """Passes are full but for the last, whatever the number of images and of points."""
    ranges = [(0, k) for k in range(1, 7)] * 3 + [(k, 6) for k in range(1, 6)]
    whole = ranked_answers(
        model, pictures(), TARGETS, ranks(), ranges, Perturbation(SUBSTRATES[name])
    )
    with passes(model) as seen:
        found = ranked_answers(
            model, pictures(), TARGETS, ranks(), ranges, Perturbation(SUBSTRATES[name], copies=2)
        )
    assert max(copies for copies, _ in seen) == 2
    torch.testing.assert_close(found.scores, whole.scores, rtol=0, atol=1e-12)
    if name == "zeros":  # images 0 and 1, then image 2, 11 copies each
        assert [copies for copies, _ in seen] == [2] * 11 + [2] * 5 + [1]


def test_the_bound_counts_the_tokens_of_a_grid_that_is_not_square(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for five copies of a class token and 3 x 2 patches."""
    monkeypatch.setattr(engine, "CPU_ELEMENTS", 5 * (1 + 3 * 2) * 192)
    ranges = [(0, k) for k in range(1, 7)]
    with passes(model) as found:
        ranked_answers(model, pictures(), TARGETS, ranks(), ranges)
    assert max(copies for copies, _ in found) == 5


def test_dropped_copies_of_equal_length_share_a_pass(model: Any) -> None:
    """Each length once, unpadded: class token and 5 to 1 patches, of both curves and all images."""
    ranges = [(0, k) for k in range(7)] + [(k, 6) for k in range(7)]
    with passes(model) as seen:
        found = ranked_answers(
            model, pictures(), TARGETS, ranks(), ranges, Perturbation(SUBSTRATES["drop"])
        )
    assert seen == [(3, 7), (6, 6), (6, 5), (6, 4), (6, 3), (6, 2), (1, 1)]
    with torch.no_grad():
        for i in range(3):
            expected = model(pictures())[i].softmax(dim=-1)[TARGETS[i]]
            assert float(found.scores[i, 6]) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("name", ["zeros", "mean", "drop"])
def test_all_is_computed_where_the_images_are(model: Any, name: str) -> None:
    how, ranges = Perturbation(SUBSTRATES[name]), [(0, 0), (0, 2), (3, 6), (0, 6)]
    expected = ranked_answers(model, pictures(), TARGETS, ranks(), ranges, how)
    images, places = pictures(), ranks()
    with torch.device("meta"):  # where else what is made without a device
        found = ranked_answers(model, images, TARGETS, places, ranges, how)
    assert torch.equal(found.scores, expected.scores)


def test_masks_and_ranges_are_one_engine(model: Any) -> None:
    for name in ("zeros", "drop", "mean"):
        how = Perturbation(SUBSTRATES[name])
        visible = torch.stack([ranks() < 2, ranks() >= 2, ranks() < 0, ranks() < 9], dim=1)
        ranges = [(0, 2), (2, 6), (0, 0), (0, 6)]
        by_mask = masked_answers(model, pictures(), TARGETS, visible, how)
        by_rank = ranked_answers(model, pictures(), TARGETS, ranks(), ranges, how)
        torch.testing.assert_close(by_mask.scores, by_rank.scores, rtol=0, atol=1e-12)


def test_units_may_be_pixels() -> None:
    """Two pixels of a patch that adds up: by hand."""
    model, image = additive((1, 1), 2), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]).double()
    place = torch.tensor([[[1, 3], [0, 2]]])
    found = ranked_answers(
        model,
        image.expand(1, 3, -1, -1),
        torch.tensor([1]),
        place,
        [(0, 1), (0, 2), (1, 4)],
        Perturbation(score="logit"),
    )
    assert found.scores[0].tolist() == pytest.approx([-3 / 4, -4 / 4, -7 / 4])


def test_a_shorter_type_is_used_and_told_in_float32(model: Any) -> None:
    found = ranked_answers(
        vit().float(),
        pictures().float(),
        TARGETS,
        ranks(),
        [(0, 2)],
        Perturbation(autocast=torch.bfloat16),
    )
    exact = ranked_answers(model, pictures(), TARGETS, ranks(), [(0, 2)])
    assert found.scores.dtype is torch.float32
    difference = (found.scores.double() - exact.scores).abs().max()
    assert 1e-6 < difference < 0.05


class Small(nn.Module):
    """A norm that runs out of memory for more than some copies."""

    def __init__(self, norm: nn.Module, most: int) -> None:
        super().__init__()
        self.norm, self.most = norm, most

    def forward(self, tokens: Tensor) -> Tensor:
        if len(tokens) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.norm(tokens)


@pytest.mark.parametrize("name", ["zeros", "drop"])
def test_out_of_memory_halves_the_batch_and_says_so_once(name: str) -> None:
    ranges = [(0, k) for k in range(6)] + [(k, 6) for k in range(6)]
    how = Perturbation(SUBSTRATES[name], copies=16)
    expected = ranked_answers(vit(), pictures(), TARGETS, ranks(), ranges, how)
    model = vit()
    model.blocks[0].norm1 = Small(model.blocks[0].norm1, 3)
    with pytest.warns(UserWarning, match="2 masked copies a forward pass") as told:
        found = ranked_answers(model, pictures(), TARGETS, ranks(), ranges, how)
    assert len(told) == 1
    assert told[0].filename == __file__
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-12)


def test_out_of_memory_with_one_copy_is_told() -> None:
    model = vit()
    model.blocks[0].norm1 = Small(model.blocks[0].norm1, 0)
    with pytest.raises(UserError, match="single masked copy"), warnings.catch_warnings():
        ranked_answers(model, pictures(), TARGETS, ranks(), [(0, 2)])


def explained(maps: Tensor) -> Explanation:
    return Explanation(maps, TARGETS[: len(maps)], "mine")


def test_order_by_hand() -> None:
    maps = torch.tensor([[[0.2, 0.9, -0.5], [0.4, 0.1, 0.3]]])
    assert patch_ranks(explained(maps), (2, 3)).tolist() == [[[3, 0, 5], [1, 4, 2]]]


def test_a_map_in_pixels_ranks_by_the_mean_over_each_patch() -> None:
    pixels = torch.tensor([[[1.0, 1.0, 4.0, 0.0], [1.0, 1.0, 4.0, 0.0]]])
    assert patch_ranks(explained(pixels), (1, 2)).tolist() == [[[1, 0]]]
    assert on_units(pixels, (1, 2)).tolist() == [[[1.0, 2.0]]]
    assert on_units(pixels, (1, 2)).dtype is torch.float64


def test_equal_patches_are_not_ordered_by_their_number() -> None:
    constant = Explanation(torch.zeros(400, 3, 3), torch.zeros(400, dtype=torch.long), "constant")
    order = patch_ranks(constant, (3, 3)).flatten(1)
    assert torch.equal(order.sort(dim=1).values, torch.arange(9).expand(400, 9))
    assert (order.float().mean(dim=0) - 4).abs().max() < 0.5
    assert torch.equal(order, patch_ranks(constant, (3, 3)).flatten(1))


BROKEN = {
    "nan": (lambda m: m[1, 2, 0].fill_(float("nan")), r"mine: the map of image 1 .*not finite"),
    "infinite": (lambda m: m[2, 0, 1].fill_(float("inf")), r"mine: the map of image 2 .*infinite"),
    "shape": (lambda m: m.resize_(3, 2, 3), r"mine: maps of shape \(3, 2, 3\).*3 x 2"),
    "channels": (lambda m: m.resize_(3, 1, 3, 2), r"mine: maps of shape \(3, 1, 3, 2\)"),
    "count": (lambda m: m.resize_(2, 3, 2), "2 maps .* 3 images"),
}


@pytest.mark.parametrize(("breaks", "told"), BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("measure", [curves, road])
def test_maps_that_cannot_be_ranked_are_refused_in_one_line(
    model: Any, breaks: Any, told: str, measure: Any
) -> None:
    maps = torch.rand(3, 3, 2)
    breaks(maps)
    with pytest.raises(UserError, match=told) as refusal:
        measure(model, Batch(pictures(), TARGETS), Explanation(maps, TARGETS, "mine"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("target", [-1, 5])
def test_a_class_that_there_is_not_is_refused(model: Any, target: int) -> None:
    of = Explanation(torch.rand(3, 3, 2), torch.tensor([0, target, 0]), "mine")
    with pytest.raises(UserError, match="5 classes") as refusal:
        curves(model, Batch(pictures(), TARGETS), of)
    assert "\n" not in str(refusal.value)


def test_a_model_on_another_device_is_refused(model: Any) -> None:
    of = Explanation(torch.rand(3, 3, 2), TARGETS.to("meta"), "mine")
    with pytest.raises(UserError, match="meta") as refusal:
        curves(model, Batch(pictures().to("meta"), TARGETS), of)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (partial(Perturbation, copies=0), "`copies` is 0"),
        (lambda: ranked_answers(vit(), pictures(), TARGETS, ranks().view(3, 1, 6), [(0, 1)]), "6"),
        (
            lambda: ranked_answers(
                vit(),
                pictures(),
                TARGETS,
                torch.arange(48 * 32).view(1, 48, 32).expand(3, -1, -1),
                [(0, 1)],
                Perturbation(SUBSTRATES["drop"]),
            ),
            "drop leaves out whole patches",
        ),
        (
            lambda: curves(
                nn.Linear(2, 3), Batch(pictures(), TARGETS), explained(torch.rand(3, 3, 2))
            ),
            "Linear",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(call: Any, told: str) -> None:
    with pytest.raises(UserError, match=told) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_the_model_is_in_evaluation_mode_meanwhile_and_as_before_afterwards() -> None:
    model = vit()
    expected = ranked_answers(model, pictures(), TARGETS, ranks(), [(0, 2)])
    model.train()
    model.pos_drop.p = 0.5
    found = ranked_answers(model, pictures(), TARGETS, ranks(), [(0, 2)])
    torch.testing.assert_close(found.scores, expected.scores)
    assert model.training
    assert model.pos_drop.training
