"""What a card says of the data and of the weights that training started from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from iavit.config import PRESETS
from iavit.data.images import InMemory, Splits
from iavit.data.listing import Listing
from iavit.data.on_disk import FromFiles
from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.handover import facts
from iavit.handover.facts import SplitFacts, fingerprint, parent_weights, split_facts


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


def test_splits_are_counted_where_the_data_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = {"train": images([0] * 1234), "val": images([1, 0]), "test": images([2])}
    splits = Splits(("a", "b", "c"), Normalisation(), sets.__getitem__)
    config = PRESETS["digits"]
    monkeypatch.setattr(facts, "load_dataset", lambda wanted: {config: splits}[wanted])
    assert split_facts(config, "?") == (
        SplitFacts("train", "1,234", f"`{fingerprint(sets['train'])}`"),
        SplitFacts("val", "2", f"`{fingerprint(sets['val'])}`"),
        SplitFacts("test", "1", f"`{fingerprint(sets['test'])}`"),
    )
    unknown = tuple(SplitFacts(name, "?", "?") for name in ("train", "val", "test"))
    assert split_facts(None, "?") == unknown

    def gone(config: object) -> None:
        raise UserError("`root`: there is no such folder")

    monkeypatch.setattr(facts, "load_dataset", gone)
    assert split_facts(config, "?") == unknown


def test_of_a_model_without_its_run_and_of_weights_without_a_licence() -> None:
    assert parent_weights(None, "not stated") == "not stated"
    preset = PRESETS["digits"]
    own = replace(preset, model=replace(preset.model, pretrained=True))
    assert parent_weights(own, "?") == "timm's vit_digits (vit_digits); licence ?"


def test_of_what_there_is_no_fingerprint() -> None:
    nothing: Any = "images"
    with pytest.raises(TypeError, match="no fingerprint of str"):
        fingerprint(nothing)
