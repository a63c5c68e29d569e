"""A draw of images: the same each time, and even over classes and groups."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from iavit.data.images import InMemory
from iavit.data.sampling import sample, spread
from iavit.data.transforms import Normalisation


def sorted_by_class(sizes: tuple[int, ...]) -> InMemory:
    """Image i of one grey, i % 251; the first classes' images first, as in a folder."""
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    pixels = (torch.arange(len(labels)) % 251).to(torch.uint8)[:, None, None, None]
    return InMemory(pixels.expand(-1, 3, 2, 2), labels, Normalisation())


def test_every_class_has_its_share_of_the_first_whatever_their_number() -> None:
    images = sorted_by_class((300, 100, 50, 50))
    order = spread(images)
    assert order.sort().values.tolist() == list(range(500))
    for count in (10, 37, 200, 499):
        found = Counter(images.labels[order[:count]].tolist())
        for label, share in enumerate((0.6, 0.2, 0.1, 0.1)):
            assert abs(found[label] - share * count) <= 1, (count, label)


def test_groups_have_their_share_within_each_class() -> None:
    images = sorted_by_class((60, 40))
    groups = torch.arange(100) % 5 // 4  # one in five is of group 1
    order = spread(replace(images, groups=groups))[:50]
    for label, group, expected in ((0, 0, 24), (0, 1, 6), (1, 0, 16), (1, 1, 4)):
        members = (images.labels[order] == label) & (groups[order] == group)
        assert abs(int(members.sum()) - expected) <= 1


def test_a_draw_keeps_the_order_and_is_repeated_by_its_seed() -> None:
    images = sorted_by_class((30, 30))
    drawn = sample(images, 20)
    assert len(drawn) == 20
    greys = drawn.pixels[:, 0, 0, 0].tolist()
    assert greys == sorted(greys)
    assert sorted(Counter(drawn.labels.tolist()).values()) == [10, 10]
    assert sample(images, 20).pixels.equal(drawn.pixels)
    assert not sample(images, 20, seed=1).pixels.equal(drawn.pixels)


def test_a_draw_is_the_one_that_it_was() -> None:
    """Shuffled, then the i-th of the n of a kind at `(i + start) / n`, kind by kind."""
    images = sorted_by_class((23, 9))
    generator = np.random.default_rng(0)
    shuffled = generator.permutation(32).tolist()
    kinds = [[i for i in shuffled if i < 23], [i for i in shuffled if i >= 23]]
    starts = generator.random(2)
    ways = {
        index: (place + start) / len(kind)
        for kind, start in zip(kinds, starts, strict=True)
        for place, index in enumerate(kind)
    }
    assert spread(images).tolist() == sorted(ways, key=ways.__getitem__)


def test_which_of_a_class_are_drawn_is_chance() -> None:
    images = sorted_by_class((8, 8))
    times = Counter(i for seed in range(400) for i in spread(images, seed)[:4].tolist())
    assert all(60 <= times[index] <= 145 for index in range(16))  # 100 expected, deviation 9


@pytest.mark.parametrize("count", [None, 7, 8])
def test_all_are_taken_as_they_are_where_no_fewer_are_asked_for(count: int | None) -> None:
    images = sorted_by_class((4, 3))
    assert sample(images, count) is images


def test_where_no_labels_are_known_the_draw_is_random() -> None:
    class Unlabelled:
        labels = groups = None

        def __len__(self) -> int:
            return 9

    order = spread(Unlabelled())  # type: ignore[arg-type]
    assert sorted(order.tolist()) == list(range(9))
    assert order.tolist() != list(range(9))
