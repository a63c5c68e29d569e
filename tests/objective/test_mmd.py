"""Maximum mean discrepancy: its value, its axioms and its gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from iavit.objective.mmd import Bandwidth, mmd_squared
from tests.reference import objective as twin

BANDWIDTHS: list[Bandwidth | float] = ["median", "mean", 0.37]


def sample(points: int, seed: int, *, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(points, 5, generator=generator, dtype=torch.float64) + shift


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
@pytest.mark.parametrize("sizes", [(3, 7), (7, 3), (5, 5), (2, 2)])
def test_equals_the_twin(
    sizes: tuple[int, int], bandwidth: Bandwidth | float, unbiased: bool
) -> None:
    x, y = sample(sizes[0], 0), sample(sizes[1], 1, shift=0.5)
    value = mmd_squared(x, y, bandwidth=bandwidth, unbiased=unbiased)
    expected = twin.mmd_squared(x, y, bandwidth, unbiased=unbiased)
    assert value.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("bandwidth", "distance"), [(1.0, 1.0), ("mean", 3.0), ("median", 3.0)])
def test_two_points_by_hand(bandwidth: Bandwidth | float, distance: float) -> None:
    # At the reference distance, k is the mean of exp(-1 / 2s) over s = 1/4, 1/2, 1, 2, 4, and
    # each sample's point is alone with itself: 1 + 1 - 2 k.
    x, y = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), distance).double()
    k = (math.exp(-2) + math.exp(-1) + math.exp(-1 / 2) + math.exp(-1 / 4) + math.exp(-1 / 8)) / 5
    assert mmd_squared(x, y, bandwidth=bandwidth).item() == pytest.approx(2 - 2 * k)


def test_unbiased_by_hand() -> None:
    # Pairs within a sample are 0 apart, pairs across are at the reference distance: 1 + 1 - 2 k
    # again; the biased means add only ones.
    x, y = torch.zeros(2, 1, dtype=torch.float64), torch.ones(3, 1, dtype=torch.float64)
    k = (math.exp(-2) + math.exp(-1) + math.exp(-1 / 2) + math.exp(-1 / 4) + math.exp(-1 / 8)) / 5
    for unbiased in (False, True):
        value = mmd_squared(x, y, bandwidth=1.0, unbiased=unbiased)
        assert value.item() == pytest.approx(2 - 2 * k)


def test_a_whole_number_is_a_bandwidth_like_any_other() -> None:
    x, y = sample(3, 0), sample(7, 1)
    assert mmd_squared(x, y, bandwidth=2) == mmd_squared(x, y, bandwidth=2.0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_a_sample_is_at_distance_zero_of_itself_in_any_order(
    bandwidth: Bandwidth | float, dtype: torch.dtype, tolerance: float
) -> None:
    x = sample(7, 0).to(dtype)
    assert mmd_squared(x, x, bandwidth=bandwidth).item() == pytest.approx(0, abs=tolerance)
    shuffled = x[torch.tensor([3, 0, 6, 1, 5, 2, 4])]
    assert mmd_squared(x, shuffled, bandwidth=bandwidth).item() == pytest.approx(0, abs=tolerance)


@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
@pytest.mark.parametrize("seed", range(20))
def test_biased_is_never_negative(seed: int, bandwidth: Bandwidth | float) -> None:
    # Same distribution and few points, where the unbiased one is negative about every other time.
    x, y = sample(3, 2 * seed), sample(7, 2 * seed + 1)
    assert mmd_squared(x, y, bandwidth=bandwidth) >= -1e-14


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("bandwidth", BANDWIDTHS)
def test_is_symmetric(bandwidth: Bandwidth | float, unbiased: bool) -> None:
    x, y = sample(3, 0), sample(7, 1)
    there = mmd_squared(x, y, bandwidth=bandwidth, unbiased=unbiased)
    back = mmd_squared(y, x, bandwidth=bandwidth, unbiased=unbiased)
    torch.testing.assert_close(there, back)


@pytest.mark.parametrize("bandwidth", ["median", "mean"])
def test_does_not_depend_on_the_unit_of_length(bandwidth: Bandwidth) -> None:
    # Attention vectors of a large grid lie very near to each other.
    x, y = sample(3, 0), sample(7, 1)
    tiny = mmd_squared(1e-6 * x, 1e-6 * y, bandwidth=bandwidth)
    torch.testing.assert_close(tiny, mmd_squared(x, y, bandwidth=bandwidth))


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("bandwidth", ["median", "mean"])
def test_points_that_all_coincide_give_zero_and_no_gradient(
    bandwidth: Bandwidth, unbiased: bool
) -> None:
    x = torch.full((3, 5), 0.2, requires_grad=True)
    value = mmd_squared(x, x.detach(), bandwidth=bandwidth, unbiased=unbiased)
    (gradient,) = torch.autograd.grad(value, x)
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-6  # rounding alone, whatever the bandwidth


def test_unbiased_averages_to_zero_where_biased_does_not() -> None:
    draws = range(400)
    pairs = [(sample(5, 2 * seed), sample(5, 2 * seed + 1)) for seed in draws]
    unbiased, biased = (
        torch.stack([mmd_squared(x, y, bandwidth=10.0, unbiased=choice) for x, y in pairs])
        for choice in (True, False)
    )
    standard_error = unbiased.std() / math.sqrt(len(draws))
    assert unbiased.mean().abs() < 4 * standard_error
    assert biased.mean() > 20 * standard_error


@pytest.mark.parametrize("unbiased", [False, True])
def test_gradient_passes_gradcheck(unbiased: bool) -> None:
    x, y = sample(3, 0).requires_grad_(), sample(5, 1).requires_grad_()

    def at_fixed_bandwidth(x: Tensor, y: Tensor) -> Tensor:
        return mmd_squared(x, y, bandwidth=0.37, unbiased=unbiased)

    assert torch.autograd.gradcheck(at_fixed_bandwidth, (x, y))


@pytest.mark.parametrize("kind", ["median", "mean"])
def test_bandwidth_carries_no_gradient(kind: Bandwidth) -> None:
    x, y = sample(3, 0).requires_grad_(), sample(5, 1).requires_grad_()
    number = twin.reference_distance(x.detach(), y.detach(), kind)
    ours = torch.autograd.grad(mmd_squared(x, y, bandwidth=kind), (x, y))
    fixed = torch.autograd.grad(mmd_squared(x, y, bandwidth=number), (x, y))
    torch.testing.assert_close(ours, fixed)


def test_a_multiple_widens_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two points at distance 1, bandwidth 1 and the multiple 3: `2 - 2 exp(-1 / (2 3))`."""
    monkeypatch.setattr("iavit.objective.mmd.BANDWIDTHS", (3.0,))
    found = mmd_squared(torch.zeros(1, 2), torch.tensor([[0.6, 0.8]]), bandwidth=1.0)
    assert float(found) == pytest.approx(2 - 2 * math.exp(-1 / 6))
