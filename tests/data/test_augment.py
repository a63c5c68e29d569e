from __future__ import annotations

from pathlib import Path

import pytest
import torch

from iavit.data.augment import Draw
from tests.data.test_embedded import fashion, write


@pytest.mark.parametrize("name", ["authors", "modern"])
def test_random_views_depend_on_seed_and_index_alone(tmp_path: Path, name: str) -> None:
    write(tmp_path, "")
    train = fashion(tmp_path, augment=name).train
    state = torch.get_rng_state()
    views = train[Draw([3, 5], 7)].images
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert torch.equal(train[Draw([5, 3], 7)].images.flip(0), views)
    assert not torch.equal(train[Draw([3, 5], 8)].images, views)
    assert views.shape == (2, 3, 28, 28)
