from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from iavit.evaluate.measurement import Part, Settings
from iavit.evaluate.pieces import (
    FOLDER,
    KEPT,
    Work,
    audit_name,
    batch_size,
    carry_out,
    clear,
    kept,
    pieces_of,
)
from iavit.evaluate.processes import Processes
from iavit.types import Batch
from tests.evaluate.models import additive, painted
from tests.report import tiny_images


@pytest.mark.parametrize(
    ("images", "size", "pieces", "largest"),
    [
        (1003, 250, 32, 32),  # fewer to a batch than could be: processes share them
        (1003, 27, 38, 27),  # a batch each
        (250, 250, 16, 16),  # no fewer to a batch than is fast
        (50_000, 27, 206, 243),  # no more files than one for 256 images
        (3, 250, 1, 3),
        (100_000, 250, 400, 250),
    ],
)
def test_every_image_is_in_one_piece(images: int, size: int, pieces: int, largest: int) -> None:
    found = pieces_of("rise", 7, images, size)
    batches = [batch for piece in found for batch in piece.batches]
    ends = [0, *(stop for _, stop in batches)]
    assert batches == list(itertools.pairwise(ends))
    assert max(stop - start for start, stop in batches) <= size
    assert len(found) == pieces
    assert max(piece.images for piece in found) == largest
    assert sum(piece.images for piece in found) == images
    assert len({piece.file for piece in found}) == pieces


def shared(works: dict[str, Work], folder: Path, size: int, said: list[tuple[str, float]]) -> Any:
    """All of them in one stage of two, which is expected to take 3 of 4 seconds."""
    seconds = {"a stage": {"a": 1.0, "b": 2.0}, "another": {"a": 1.0}}
    return carry_out(
        "a stage",
        works,
        folder=folder,
        size=size,
        device=torch.device("cpu"),
        processes=Processes(),
        seconds=seconds,
        progress=lambda name, share: said.append((name, share)),
    )


def labels_of(batch: Batch, start: int, asked: list[tuple[str, int]], subject: str) -> Part:
    if len(asked) == 3 and subject == "b":
        asked.append(("killed", 0))
        raise KeyboardInterrupt
    asked.append((subject, start))
    return {"labels": batch.labels, "start": torch.full((len(batch),), start)}


def test_pieces_that_are_there_are_not_measured_again(tmp_path: Path) -> None:
    images = tiny_images(count=23)
    asked: list[tuple[str, int]] = []
    works = {
        subject: Work(f"{subject}!", images, partial(labels_of, asked=asked, subject=subject))
        for subject in ("a", "b")
    }
    said: list[tuple[str, float]] = []
    with pytest.raises(KeyboardInterrupt):
        shared(works, tmp_path, 7, said)
    assert asked == [("b", 0), ("b", 7), ("b", 14), ("killed", 0)]  # the slow one first
    assert [name for name, _ in said] == ["b!"] * 3
    assert [share for _, share in said] == pytest.approx([2 / 4 * 7 / 23] * 3)
    said.clear()
    found = shared(works, tmp_path, 7, said)
    assert asked[4:] == [("b", 21), *(("a", at) for at in (0, 7, 14, 21))]
    assert list(found) == ["a", "b"]  # as they were named, not as they were measured
    for subject in ("a", "b"):
        assert torch.equal(found[subject]["labels"], images.labels)
        assert found[subject]["start"].tolist() == [at // 7 * 7 for at in range(23)]
    # What was there counts as done, and the other stage is still to come.
    assert [name for name, _ in said] == [KEPT, "b!", *["a!"] * 4]
    assert [share for _, share in said[:2]] == pytest.approx([2 / 4 * 21 / 23, 2 / 4 * 2 / 23])
    assert sum(share for _, share in said) == pytest.approx(3 / 4)
    assert len(list((tmp_path / "a stage").iterdir())) == 8  # nothing temporary is left


def test_a_piece_of_several_batches_is_one_file(tmp_path: Path) -> None:
    works = {"a": Work("a", tiny_images(count=70), partial(labels_of, asked=[], subject="a"))}
    found = shared(works, tmp_path, 1, [])
    place = tmp_path / "a stage"
    assert len(list(place.iterdir())) == 35
    second = load_file(place / "000-000000002.safetensors")
    assert second["start"].tolist() == [2, 3]
    assert found["a"]["start"].tolist() == list(range(70))


def test_an_audit_is_named_by_all_that_its_pieces_depend_on() -> None:
    model, images = additive((2, 2), 2), tiny_images(size=4, count=6)
    batch = Batch(painted(torch.rand(2, 2, 2, dtype=torch.float64), 2), torch.tensor([0, 1]))

    def name(
        *,
        seed: int = 0,
        explainers: tuple[str, ...] = ("a", "b"),
        points: int = 5,
        promised: str | None = None,
    ) -> str:
        return audit_name(model, images, batch, explainers, Settings(points=points), seed, promised)

    first = name()
    assert name() == first
    others = {name(seed=1), name(explainers=("b", "a")), name(points=6)}
    others.add(name(promised="0.9"))
    with torch.no_grad():
        model.head.bias[0] += 1
    others.add(name())
    batch.images[1, 0, 0, 0] += 1
    others.add(name())
    assert len(others | {first}) == 7


def test_pieces_are_kept_below_the_folder_until_they_are_cleared(tmp_path: Path) -> None:
    with kept(tmp_path, "0123") as place:
        (place / "piece").touch()
    assert (tmp_path / FOLDER / "0123" / "piece").is_file()
    (tmp_path / "evaluation.json").touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]
    with kept(None, "0123") as place:
        assert place.is_dir()
    assert not place.exists()


def test_no_more_images_share_a_batch_than_copies_are_held() -> None:
    model = additive((8, 8), 4)
    assert batch_size(model) == 2**20 // 64**2
    assert batch_size(model, 5) == 5
