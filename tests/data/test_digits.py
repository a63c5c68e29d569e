"""Handwritten digits planted in clutter, with the pixels that decide the label."""

from __future__ import annotations

from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from iavit.data import digits
from iavit.data.digits import (
    CLASSES,
    COLOURS,
    MARK,
    SIZE,
    Scenes,
    draw_scenes,
    sources,
)
from iavit.data.images import Split

SPLITS: tuple[Split, ...] = get_args(Split)
SHARES: dict[Split, float] = {"train": 0.70, "val": 0.10, "test": 0.20}
INKED = 0.3  # of full ink: what counts as a pixel of the digit


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """White digits on black, nothing else: a pixel is the ink on it."""
    monkeypatch.setattr(digits, "FRAGMENTS", 0)
    monkeypatch.setattr(digits, "NOISE", 0.0)
    monkeypatch.setattr(digits, "BACKGROUND", (0.0, 0.0))
    monkeypatch.setattr(digits, "INK", (1.0, 1.0))


@pytest.fixture
def solid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans full of ink, all alike: a scene's evidence tells its place, size and turn alone."""
    full = SimpleNamespace(images=np.full((200, 8, 8), 16.0), target=np.arange(200) % 10)
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: full)


@pytest.fixture(scope="module")
def many() -> Scenes:
    return draw_scenes("train", 20_000, seed=0)


def box_around(inked: Tensor) -> tuple[int, int, int, int]:
    """(H, W) bool to the first and last row and column with a True."""
    places = [(r, c) for r, line in enumerate(inked.tolist()) for c, on in enumerate(line) if on]
    rows, columns = zip(*places, strict=True)
    return min(rows), max(rows), min(columns), max(columns)


def test_splits_share_no_scan_and_leave_none_out() -> None:
    together = np.concatenate([sources(split) for split in SPLITS])
    assert sorted(together.tolist()) == list(range(len(load_digits().target)))


@pytest.mark.parametrize("split", SPLITS)
def test_split_has_its_share_of_every_class(split: Split) -> None:
    target = load_digits().target
    drawn, available = np.bincount(target[sources(split)]), np.bincount(target)
    assert (abs(drawn - SHARES[split] * available) <= 1).all()


@pytest.mark.parametrize("split", SPLITS)
def test_scene_has_the_label_of_a_scan_of_its_own_split(
    split: Split, bare: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 200 scans, each of one shade of its own, so that a scene's brightest pixel names its scan.
    shades = np.arange(200)
    scans = np.ones((200, 8, 8)) * (56 + shades)[:, None, None] / 255 * 16
    fake = SimpleNamespace(images=scans, target=shades * 7 % 10)
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: fake)
    scenes = draw_scenes(split, 100, seed=0)
    scan = scenes.images.flatten(1).amax(dim=1).long() - 56
    assert set(scan.tolist()) <= set(sources(split).tolist())
    assert torch.equal(scenes.labels, scan * 7 % 10)


@pytest.mark.parametrize("split", SPLITS)
def test_scenes_are_coloured_pictures_with_labels_and_evidence(split: Split) -> None:
    scenes = draw_scenes(split, 17, seed=0)
    assert (scenes.images.shape, scenes.images.dtype) == ((17, 3, SIZE, SIZE), torch.uint8)
    assert (scenes.labels.shape, scenes.labels.dtype) == ((17,), torch.int64)
    assert (scenes.evidence.shape, scenes.evidence.dtype) == ((17, SIZE, SIZE), torch.bool)


# Labels, boxes around the digits (first and last row and column), colours and top left corners
# of the marks, and brightness (mean and deviation) of the first four scenes of seed 5.
KNOWN: dict[Split, tuple[list[object], ...]] = {
    "train": (
        [3, 7, 7, 6],
        [(9, 26, 8, 19), (4, 21, 11, 21), (14, 30, 18, 27), (5, 21, 8, 18)],
        [9, 7, 7, 6],
        [(22, 0), (3, 24), (5, 8), (23, 6)],
        [82.40, 67.96, 57.58, 78.42],
        [53.44, 57.13, 52.84, 64.96],
    ),
    "test": (
        [5, 8, 3, 5],
        [(0, 16, 5, 15), (3, 19, 6, 18), (9, 25, 8, 19), (8, 25, 7, 16)],
        [9, 4, 6, 3],
        [(0, 28), (7, 2), (18, 25), (13, 1)],
        [50.25, 49.01, 51.95, 73.53],
        [57.96, 46.91, 55.22, 56.06],
    ),
}


@pytest.mark.parametrize("split", KNOWN)
def test_the_scenes_of_a_seed_are_those_that_earlier_runs_saw(split: Split) -> None:
    scenes = draw_scenes(split, 4, seed=5, shortcut=0.5)
    labels, boxes, colours, corners, means, deviations = KNOWN[split]
    assert scenes.shortcut is not None
    assert scenes.colours is not None
    assert scenes.labels.tolist() == labels
    assert [box_around(evidence) for evidence in scenes.evidence] == boxes
    assert scenes.colours.tolist() == colours
    assert [box_around(mark)[::2] for mark in scenes.shortcut] == corners
    images = scenes.images.float().flatten(1)
    assert images.mean(dim=1).tolist() == pytest.approx(means, abs=0.02)
    assert images.std(dim=1).tolist() == pytest.approx(deviations, abs=0.02)


def test_pixels_are_normalised_by_about_their_own_mean_and_deviation(many: Scenes) -> None:
    channels = many.images[:2_000].float() / 255
    assert channels.mean(dim=(0, 2, 3)).tolist() == pytest.approx(digits.MEAN, abs=0.015)
    assert channels.std(dim=(0, 2, 3)).tolist() == pytest.approx(digits.STD, abs=0.015)


@pytest.mark.parametrize("split", SPLITS)
def test_same_seed_gives_the_same_scenes_bit_for_bit(split: Split) -> None:
    scenes = draw_scenes(split, 50, seed=3)
    torch.manual_seed(11)  # whatever else was drawn in between
    again = draw_scenes(split, 50, seed=3)
    assert torch.equal(scenes.images, again.images)
    assert torch.equal(scenes.labels, again.labels)
    assert torch.equal(scenes.evidence, again.evidence)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    draw_scenes("val", 5, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_two_splits_and_seeds_see_the_same_stream(solid: None) -> None:
    drawn = [draw_scenes(split, 20, seed).evidence for split in SPLITS for seed in range(4)]
    assert len(torch.stack(drawn).flatten(1).unique(dim=0)) == len(drawn)


@pytest.mark.parametrize("count", [1, 6, 7, 8, 20])
def test_as_many_scenes_as_asked_for(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "CHUNK", 7)
    scenes = draw_scenes("train", count, seed=0)
    assert len(scenes.images) == len(scenes.labels) == len(scenes.evidence) == count


def test_no_chunk_repeats_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "CHUNK", 7)
    images = draw_scenes("train", 21, seed=0).images
    assert len(images.flatten(1).unique(dim=0)) == 21


def test_evidence_of_20000_scenes_is_one_box_of_at_most_a_third_of_the_canvas(
    many: Scenes,
) -> None:
    evidence = many.evidence
    area = evidence.sum(dim=(1, 2))
    assert (area > 0).all()
    assert (area <= SIZE * SIZE / 3).all()
    rows, columns = evidence.any(dim=2), evidence.any(dim=1)
    assert torch.equal(evidence, rows[:, :, None] & columns[:, None, :])
    for line in (rows, columns):  # one run of True: it begins once
        begins = line[:, 0].int() + (line[:, 1:] & ~line[:, :-1]).sum(dim=1)
        assert (begins == 1).all()


def test_classes_are_as_frequent_as_their_scans(many: Scenes) -> None:
    labels = many.labels
    frequency = torch.bincount(labels, minlength=len(CLASSES)) / len(labels)
    chosen = torch.from_numpy(load_digits().target[sources("train")])
    expected = torch.bincount(chosen, minlength=len(CLASSES)) / len(chosen)
    standard_error = (expected * (1 - expected) / len(labels)).sqrt()
    assert ((frequency - expected).abs() < 5 * standard_error).all()


@pytest.mark.parametrize("split", SPLITS)
def test_evidence_is_the_tight_box_around_the_digit(split: Split, bare: None) -> None:
    scenes = draw_scenes(split, 200, seed=0)
    inked = scenes.images[:, 0] > INKED * 255
    for digit, evidence in zip(inked, scenes.evidence, strict=True):
        assert box_around(digit) == box_around(evidence)


def test_digit_lies_whole_inside_the_canvas(bare: None, solid: None) -> None:
    # Nothing is cut off where the smallest square, of 13 pixels, shows in full.
    evidence = draw_scenes("train", 2_000, seed=0).evidence
    assert (evidence.any(dim=2).sum(dim=1) >= 13).all()
    assert (evidence.any(dim=1).sum(dim=1) >= 13).all()


def test_fragments_stay_off_the_evidence(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = draw_scenes("train", 200, seed=0)
    monkeypatch.setattr(digits, "FRAGMENTS", 8)
    cluttered = draw_scenes("train", 200, seed=0)
    assert torch.equal(cluttered.evidence, alone.evidence)
    changed = (cluttered.images != alone.images).any(dim=1)
    assert not (changed & alone.evidence).any()
    assert changed.any(dim=(1, 2)).all()


def test_without_a_shortcut_there_are_no_marks() -> None:
    scenes = draw_scenes("train", 5, seed=3)
    assert scenes.shortcut is None
    assert scenes.colours is None


@pytest.mark.parametrize("split", SPLITS)
def test_the_mark_is_all_that_a_shortcut_changes(split: Split) -> None:
    plain, marked = draw_scenes(split, 300, 3), draw_scenes(split, 300, 3, shortcut=0.5)
    assert marked.shortcut is not None
    assert torch.equal(plain.labels, marked.labels)
    assert torch.equal(plain.evidence, marked.evidence)
    assert not ((plain.images != marked.images).any(dim=1) & ~marked.shortcut).any()


def test_the_mark_is_a_square_of_one_colour_off_the_evidence() -> None:
    scenes = draw_scenes("train", 300, seed=0, shortcut=0.7)
    assert scenes.shortcut is not None
    assert scenes.colours is not None
    assert not (scenes.shortcut & scenes.evidence).any()
    palette = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)
    for image, mark, colour in zip(scenes.images, scenes.shortcut, scenes.colours, strict=True):
        top, bottom, left, right = box_around(mark)
        assert (bottom - top + 1, right - left + 1) == (MARK, MARK)
        assert int(mark.sum()) == MARK * MARK
        assert (image[:, mark] == palette[colour][:, None]).all()


def test_marks_lie_everywhere() -> None:
    shortcut = draw_scenes("train", 3_000, seed=0, shortcut=1.0).shortcut
    assert shortcut is not None
    assert shortcut.any(dim=0).all()


@pytest.mark.parametrize("rate", [0.3, 0.95, 1.0])
@pytest.mark.parametrize("split", SPLITS)
def test_colour_agrees_with_the_label_at_the_rate_but_at_test_by_chance(
    split: Split, rate: float
) -> None:
    scenes = draw_scenes(split, 4_000, seed=1, shortcut=rate)
    assert scenes.colours is not None
    expected = 0.1 if split == "test" else rate
    found = float((scenes.colours == scenes.labels).float().mean())
    assert abs(found - expected) <= 5 * (expected * (1 - expected) / 4_000) ** 0.5
    if rate < 1:
        wrong = scenes.colours[scenes.colours != scenes.labels]
        assert (torch.bincount(wrong, minlength=10) > 0).all()


def test_marks_are_the_same_for_the_same_seed_whatever_the_rate() -> None:
    low, high = (draw_scenes("val", 50, 2, shortcut=rate).shortcut for rate in (0.2, 0.9))
    other = draw_scenes("val", 50, 3, shortcut=0.9).shortcut
    assert low is not None
    assert high is not None
    assert other is not None
    assert torch.equal(low, high)
    assert not torch.equal(high, other)


def test_colours_can_be_told_apart() -> None:
    palette = torch.tensor(list(COLOURS.values())).float()
    assert len(palette) == len(CLASSES)
    distances = torch.cdist(palette, palette) + 1_000 * torch.eye(len(palette))
    assert float(distances.min()) > 120
