from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms import v2

from iavit.data.augment import Draw, augmentation, augmented
from tests.data.test_embedded import fashion, write


def test_light_moves_by_up_to_an_eighth_and_mirrors() -> None:
    """Each view is one of 5 x 5 parts of the picture framed by its reflection, or its mirror."""
    picture = torch.randint(256, (3, 16, 16), dtype=torch.uint8)
    framed = functional.pad(picture.float()[None], (2, 2, 2, 2), mode="reflect")[0].byte()
    parts = [framed[:, y : y + 16, x : x + 16] for y in range(5) for x in range(5)]
    expected = torch.stack([*parts, *(part.flip(2) for part in parts)]).flatten(1)
    light = augmentation("light", 16)
    assert light is not None
    views = torch.stack(augmented([picture] * 300, range(300), light, 7)).flatten(1)
    found = (views[:, None] == expected).all(dim=2)
    assert found.sum(dim=1).tolist() == [1] * 300
    assert found.any(dim=0).all()  # each of the fifty is drawn
    wide = Image.new("RGB", (50, 30))
    assert augmented([wide], [0], light, 7)[0].shape == (3, 16, 16)


def test_crops_have_the_areas_of_their_recipes() -> None:
    authors, modern = augmentation("authors", 24), augmentation("modern", 24)
    kind = v2.InterpolationMode
    crop, _ = authors.transforms  # type: ignore[union-attr]
    assert (crop.size, crop.scale, kind(crop.interpolation)) == ((24, 24), (0.05, 1), kind.BILINEAR)
    crop, flip, operations, _ = modern.transforms  # type: ignore[union-attr]
    assert (crop.size, crop.scale, kind(crop.interpolation)) == ((24, 24), (0.08, 1), kind.BICUBIC)
    assert (flip.p, operations.num_ops, operations.magnitude) == (0.5, 2, 9)
    assert augmentation("none", 24) is None


@pytest.mark.parametrize("name", ["light", "authors", "modern"])
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
