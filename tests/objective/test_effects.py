"""Effect simulation: what is asked of the contributions, and the samples that they learn from."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from iavit.masking import sampling as masking
from iavit.masking.sampling import blend_images
from iavit.objective.effects import (
    draw_visibility,
    effect_attention,
    effect_simulation,
    patch_effects,
)
from tests.reference import objective as twin

CPU = torch.device("cpu")
GRID = (3, 2)
CLASSES = torch.tensor([1, 4, 0, 2, 2, 3, 1])
Predict = Callable[[Tensor], Tensor]


def pictures(seed: int = 1) -> Tensor:
    """(7, 3, 6, 10), patches of 2 x 5 pixels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(7, 3, 6, 10, generator=generator, dtype=torch.float64)


def curved() -> nn.Sequential:
    """A predictor of five classes that is anything but additive."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(180, 11), nn.Tanh(), nn.Linear(11, 5))
    return model.double()


def sample(predict: Predict, images: Tensor, seed: int = 5) -> Tensor:
    torch.manual_seed(seed)
    return patch_effects(predict, images, CLASSES[: len(images)], GRID)


def test_by_hand() -> None:
    # Lengths 5 and 5, product 24; then opposite directions.
    contributions = torch.tensor([[3.0, 4.0, 0.0], [1.0, 0.0, 0.0]])
    gradient = torch.tensor([[4.0, 3.0, 0.0], [-2.0, 0.0, 0.0]])
    found = float(effect_simulation(contributions, gradient))
    assert found == pytest.approx(((1 - 24 / 25) + 2) / 2)


def test_equal_to_the_twin() -> None:
    given, wanted = torch.randn(2, 7, 5, dtype=torch.float64)
    found = float(effect_simulation(given, wanted))
    assert found == pytest.approx(twin.effect_simulation(given, wanted))


def test_the_attention_by_hand() -> None:
    # About their means (-1, 0, 1) and (1, 0, -1), then (-1, 0, 1) and (-1, 2, -1).
    attention = torch.tensor([[0.0, 0.1, 0.2], [0.0, 0.1, 0.2]])
    gradient = torch.tensor([[7.0, 6.0, 5.0], [1.0, 4.0, 1.0]])
    assert float(effect_attention(attention, gradient)) == pytest.approx((2 + 1) / 2)


def test_the_attention_is_equal_to_the_twin() -> None:
    given, wanted = torch.randn(2, 7, 5, dtype=torch.float64)
    found = float(effect_attention(given, wanted))
    assert found == pytest.approx(twin.effect_attention(given, wanted))
    shifted = float(effect_attention(3 * given + 2, wanted - 5))
    assert shifted == pytest.approx(found)


def test_gradcheck_of_the_attention() -> None:
    given = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    wanted = torch.randn(3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda a: effect_attention(a, wanted), (given,))


def test_the_direction_alone_counts() -> None:
    gradient = torch.randn(7, 5, dtype=torch.float64)
    lengths = torch.rand(7, 1) + 0.1
    assert float(effect_simulation(lengths * gradient, gradient)) == pytest.approx(0, abs=1e-9)
    assert float(effect_simulation(-lengths * gradient, gradient)) == pytest.approx(2)


def test_an_image_without_a_gradient_moves_nothing() -> None:
    contributions = torch.randn(2, 5, requires_grad=True)
    term = effect_simulation(contributions, torch.zeros(2, 5))
    term.backward()
    assert term.item() == 1
    assert contributions.grad is not None
    assert not contributions.grad.any()


def test_the_contributions_alone_are_moved() -> None:
    contributions = torch.randn(2, 5, requires_grad=True)
    gradient = torch.randn(2, 5, requires_grad=True)
    effect_simulation(contributions, gradient).backward()
    assert contributions.grad is not None
    assert contributions.grad.any()
    assert gradient.grad is None


def test_gradcheck() -> None:
    contributions = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda c: effect_simulation(c, gradient), (contributions,))


def test_each_visibility_is_uniform_and_by_itself() -> None:
    visibility = draw_visibility(4_000, 500, CPU)
    assert visibility.shape == (2, 4_000, 500)
    assert 0 <= float(visibility.min()) < 0.001
    assert 0.999 < float(visibility.max()) <= 1
    assert float(visibility.mean()) == pytest.approx(1 / 2, abs=0.001)
    assert float(visibility.std()) == pytest.approx(1 / math.sqrt(12), abs=0.001)
    # The mean of 500 that have nothing to do with each other varies by so much less.
    shares = visibility[0].mean(dim=1)
    assert float(shares.std()) == pytest.approx(1 / math.sqrt(12 * 500), rel=0.05)


def test_what_is_visible_the_first_time_is_missing_the_second() -> None:
    first, second = draw_visibility(30, 7, CPU)
    torch.testing.assert_close(first + second, torch.ones(30, 7))


def test_the_gradient_is_the_slope_of_the_logit() -> None:
    """Finite differences around the visibility, and with the substrates, of the same draw."""
    images, model = pictures(), curved()
    found = sample(model, images)

    def answer(patch: int, step: float) -> Tensor:
        torch.manual_seed(5)
        visibility = draw_visibility(len(images), 6, CPU).double()
        visibility[..., patch] += step
        twice = blend_images(images.repeat(2, 1, 1, 1), visibility.flatten(0, 1), GRID)
        with torch.no_grad():
            answers = model(twice).unflatten(0, (2, -1))
        return (answers[0] + answers[1])[torch.arange(len(images)), CLASSES] / 2

    for patch in range(6):
        slope = (answer(patch, 1e-5) - answer(patch, -1e-5)) / 2e-5
        torch.testing.assert_close(found[:, patch].double(), slope, rtol=1e-4, atol=1e-6)


def test_of_an_additive_predictor_it_is_the_banzhaf_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two classes, logits that add up over patches: by hand, and by definition."""
    monkeypatch.setattr(masking, "draw_substrates", lambda images, grid: torch.zeros_like(images))
    weights = torch.tensor([2.0, -1.0, 0.5, 0.0, 3.0, -0.25])
    values = torch.tensor([1.0, 2.0, -4.0, 5.0, 1.0, 4.0])
    image = values.view(1, 1, 3, 2).expand(1, 3, 3, 2).repeat_interleave(2, 2)

    def predict(images: Tensor) -> Tensor:
        adds_up = images[:, 0, ::2].flatten(1) @ weights
        return torch.stack([adds_up, -adds_up], dim=1)

    torch.manual_seed(0)
    gradient = patch_effects(predict, image, torch.tensor([0]), GRID)[0]
    by_hand = torch.tensor([2.0, -2.0, -2.0, 0.0, 3.0, -1.0])  # weight times value

    def game(visible: frozenset[int]) -> float:
        return sum(float(weights[k] * values[k]) for k in visible)

    torch.testing.assert_close(torch.tensor(twin.banzhaf(game, 6)), by_hand)
    torch.testing.assert_close(gradient, by_hand)
    assert effect_simulation(by_hand[None], gradient[None]).item() == pytest.approx(0, abs=1e-6)
    against = patch_effects(predict, image, torch.tensor([1]), GRID)[0]
    torch.testing.assert_close(against, -by_hand)


def test_averaged_over_many_draws_it_is_the_banzhaf_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an answer that three patches give together and one alone: by hand, and by definition."""
    monkeypatch.setattr(masking, "draw_substrates", lambda images, grid: torch.zeros_like(images))

    def predict(images: Tensor) -> Tensor:
        visible = images[:, 0, 0]
        answer = visible[:, :3].prod(dim=1) + 2 * visible[:, 3]
        return torch.stack([answer, -answer], dim=1)

    def game(visible: frozenset[int]) -> float:
        return float({0, 1, 2} <= visible) + 2 * (3 in visible)

    images = torch.ones(20_000, 3, 1, 4)
    gradient = patch_effects(predict, images, torch.zeros(20_000, dtype=torch.int64), (1, 4))
    # The others are both visible in one case of four; Shapley's value would be 1/3.
    by_hand = [1 / 4, 1 / 4, 1 / 4, 2]
    assert twin.banzhaf(game, 4) == pytest.approx(by_hand)
    assert gradient.mean(dim=0).tolist() == pytest.approx(by_hand, abs=0.01)


def test_an_image_is_sampled_whatever_the_others_are() -> None:
    model, images = curved(), pictures()
    mixed = torch.cat([images[:3], pictures(2)[3:]])
    first, second = sample(model, images), sample(model, mixed)
    torch.testing.assert_close(first[:3], second[:3])
    assert not torch.isclose(first[3:], second[3:]).any()


@pytest.mark.parametrize("trained", [True, False])
def test_no_gradient_is_left_behind(trained: bool) -> None:
    model = curved().requires_grad_(trained)
    images = pictures()
    with torch.no_grad():
        gradient = sample(model, images)
    assert gradient.any()
    assert not gradient.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(gradient, sample(model, images))
