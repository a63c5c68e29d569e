from __future__ import annotations

import pytest
import torch

from iavit.evaluate.sparsity import gini, sparsity
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation
from tests.reference import evaluate as twin


def test_gini_by_hand() -> None:
    # 1, 3: the mean difference is (0 + 2 + 2 + 0) / 4, over twice the mean of 2
    values = torch.tensor([[3.0, 1.0], [5.0, 5.0], [0.0, 7.0], [0.0, 0.0]])
    with torch.device("meta"):  # where else what is made without a device
        found = gini(values)
    assert found.tolist() == [0.25, 0.0, 0.5, 0.0]


def test_one_patch_of_many_is_as_sparse_as_can_be() -> None:
    assert float(gini(torch.eye(1, 101))) == pytest.approx(100 / 101)


def test_equal_to_the_twin_on_either_resolution() -> None:
    model = IAViT.create("vit_digits", num_classes=3, img_size=28)
    maps = torch.randn(5, 7, 7, dtype=torch.float64)
    targets = torch.zeros(5, dtype=torch.long)
    batch = Batch(torch.zeros(5, 3, 28, 28), targets)
    expected = [twin.gini(heat) for heat in maps]
    pixels = maps.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)
    for same in (maps, pixels, -3 * maps):
        found = sparsity(model, batch, Explanation(same, targets, "test"))
        assert found.tolist() == pytest.approx(expected, abs=1e-6)
