from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from iavit.evaluate.measurement import Part, Settings
from iavit.evaluate.pieces import (
    FOLDER,
    Piece,
    audit_name,
    batch_size,
    carry_out,
    clear,
    collect,
    kept,
    pieces_of,
)
from iavit.evaluate.processes import Processes
from iavit.types import Batch
from tests.evaluate.models import additive, painted
from tests.report import tiny_images

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("images", "size", "pieces", "largest"),
    [
        (1003, 250, 5, 250),  # a batch each
        (1003, 27, 38, 27),  # as many as there are batches: processes share them
        (50_000, 27, 206, 243),  # no more files than one for 256 images
        (3, 250, 1, 3),
    ],
)
def test_every_image_is_in_one_piece(images: int, size: int, pieces: int, largest: int) -> None:
    found = pieces_of("rise", 7, images, size)
    batches = [batch for piece in found for batch in piece.batches]
    assert batches == [(at, min(at + size, images)) for at in range(0, images, size)]
    assert len(found) == pieces
    assert max(piece.images for piece in found) == largest
    assert sum(piece.images for piece in found) == images
    assert len({piece.file for piece in found}) == pieces


def labels_of(subject: str, batch: Batch, start: int) -> Part:
    return {"labels": batch.labels, "start": torch.full((len(batch),), start)}


def test_pieces_that_are_there_are_not_measured_again(tmp_path: Path) -> None:
    images = tiny_images(count=23)
    pieces = [*pieces_of("a", 0, 23, 7), *pieces_of("b", 1, 23, 7)]
    assert len(pieces) == 8
    measured: list[tuple[str, int]] = []

    def killed_at_the_fourth(subject: str, batch: Batch, start: int) -> Part:
        if len(measured) == 3:
            raise KeyboardInterrupt
        measured.append((subject, start))
        return labels_of(subject, batch, start)

    with pytest.raises(KeyboardInterrupt):
        carry_out(pieces, images, tmp_path, killed_at_the_fourth, CPU, Processes(), print)
    assert measured == [("a", 0), ("a", 7), ("a", 14)]
    done: list[tuple[str, int]] = []

    def go_on(subject: str, batch: Batch, start: int) -> Part:
        measured.append((subject, start))
        return labels_of(subject, batch, start)

    def note(subject: str, count: int) -> None:
        done.append((subject, count))

    carry_out(pieces, images, tmp_path, go_on, CPU, Processes(), note)
    assert measured == [
        ("a", 0),
        ("a", 7),
        ("a", 14),
        ("a", 21),
        *(("b", at) for at in (0, 7, 14, 21)),
    ]
    assert sum(count for subject, count in done if subject == "a") == 23
    found = collect(pieces, tmp_path)
    for subject in ("a", "b"):
        assert torch.equal(found[subject]["labels"], images.labels)
        assert found[subject]["start"].tolist() == [at // 7 * 7 for at in range(23)]
    assert len(list(tmp_path.iterdir())) == 8  # nothing temporary is left


def test_a_piece_of_several_batches_is_one_file(tmp_path: Path) -> None:
    piece = Piece("a", 3, ((0, 2), (2, 4), (4, 5)))
    carry_out([piece], tiny_images(count=9), tmp_path, labels_of, CPU, Processes(), print)
    assert [path.name for path in tmp_path.iterdir()] == ["003-000000000.safetensors"]
    assert load_file(tmp_path / piece.file)["start"].tolist() == [0, 0, 2, 2, 4]


def test_an_audit_is_named_by_all_that_its_pieces_depend_on() -> None:
    model, images = additive((2, 2), 2), tiny_images(size=4, count=6)
    batch = Batch(painted(torch.rand(2, 2, 2, dtype=torch.float64), 2), torch.tensor([0, 1]))

    def name(*, seed: int = 0, explainers: tuple[str, ...] = ("a", "b"), points: int = 5) -> str:
        return audit_name(model, images, batch, explainers, Settings(points=points), seed)

    first = name()
    assert name() == first
    others = {name(seed=1), name(explainers=("b", "a")), name(points=6)}
    with torch.no_grad():
        model.head.bias[0] += 1
    others.add(name())
    batch.images[1, 0, 0, 0] += 1
    others.add(name())
    assert len(others | {first}) == 6


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
