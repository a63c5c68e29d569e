"""What a card says of the data and of the weights that training started from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from iavit.config import PRESETS
from iavit.data.images import InMemory
from iavit.data.listing import Listing
from iavit.data.on_disk import FromFiles
from iavit.data.transforms import Normalisation
from iavit.handover.facts import fingerprint, parent_weights


def images(labels: list[int], seed: int = 0) -> InMemory:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (len(labels), 3, 4, 4), generator=generator, dtype=torch.uint8)
    return InMemory(pixels, torch.tensor(labels), Normalisation())


def files(root: str, names: dict[str, int]) -> FromFiles:
    paths = tuple(f"{root}/{name}" for name in names)
    return FromFiles(Listing(paths, torch.tensor(list(names.values()))), Normalisation(), 8)


def test_a_fingerprint_changes_with_the_data_and_with_nothing_else() -> None:
    assert fingerprint(images([0, 1, 2])) == fingerprint(images([0, 1, 2]))
    others = [images([0, 1, 1]), images([0, 1]), images([0, 1, 2], seed=1)]
    assert len({fingerprint(data) for data in [images([0, 1, 2]), *others]}) == 4
    here = files("/here", {"cat/a.png": 0, "dog/b.png": 1})
    moved = files("/there/data", {"dog/b.png": 1, "cat/a.png": 0})
    assert fingerprint(here) == fingerprint(moved)
    assert fingerprint(here) != fingerprint(files("/here", {"cat/a.png": 1, "dog/b.png": 1}))
    assert fingerprint(here) != fingerprint(files("/here", {"cat/a.png": 0, "dog/c.png": 1}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "none: trained from nothing"),
        ({"weights": "vit.npz"}, "the file vit.npz; licence not stated"),
        (
            {"backbone": "vit_small_patch16_224", "pretrained": True},
            "timm's vit_small_patch16_224 (timm/vit_small_patch16_224.augreg_in21k_ft_in1k); "
            "licence apache-2.0",
        ),
    ],
)
def test_parent_weights_and_their_licence(changes: dict[str, object], said: str) -> None:
    preset = PRESETS["digits"]
    config = replace(preset, model=replace(preset.model, **changes))  # type: ignore[arg-type]
    assert parent_weights(config, "not stated") == said
