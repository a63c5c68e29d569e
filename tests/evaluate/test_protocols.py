from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.evaluate.protocols import PROTOCOLS, curve, lowest, protocol_values, rise_blur
from iavit.model.iavit import IAViT
from iavit.types import Batch, Explanation
from tests.evaluate.models import additive, painted
from tests.reference import protocols as twin


@pytest.fixture(scope="module")
def model() -> IAViT:
    torch.manual_seed(0)
    model = IAViT.create("vit_digits", num_classes=10, img_size=28).double().eval()
    head = model.extractor.backbone.head
    assert isinstance(head, nn.Linear)
    nn.init.normal_(head.weight, std=1.0)  # so that the class changes on the way
    return model


@pytest.fixture(scope="module")
def batch() -> Batch:
    images = torch.randn(3, 3, 28, 28, dtype=torch.float64)
    return Batch(images, torch.tensor([1, 2, 3]))


def of_log_odds(values: list[list[float]]) -> Tensor:
    """An image whose visible pixels add these log odds of class 0 up: see `additive`."""
    return painted(torch.tensor([values], dtype=torch.float64) / 2, 1)


def described(heat: list[list[float]]) -> Explanation:
    return Explanation(torch.tensor([heat]), torch.tensor([0]), "test")


def test_rise_and_the_authors_by_hand() -> None:
    """2 x 3 pixels, 3 a step: odds of 2 * 3 with all of them, 1 without those two."""
    log2, log3 = math.log(2), math.log(3)
    images = of_log_odds([[log2, 0.0, 0.0], [log3, 0.0, 0.0]])
    batch = Batch(images, torch.tensor([0]))
    explanation = described([[5.0, 4.0, 1.0], [6.0, 2.0, 0.0]])
    model, asked = additive((2, 3), 1), torch.tensor([0])
    fractions, deletion = curve(
        model, batch, explanation, PROTOCOLS["rise"].measures["deletion"], asked
    )
    assert fractions.tolist() == [0.0, 0.5, 1.0]
    assert deletion[0].tolist() == pytest.approx([6 / 7, 1 / 2, 1 / 2])
    rise = protocol_values(model, batch, explanation, PROTOCOLS["rise"], asked)
    assert float(rise["deletion"]) == pytest.approx((3 / 7 + 1 / 2 + 1 / 4) / 2)
    blurred = float(torch.sigmoid(2 * twin.rise_blur(images[0])[0].sum()))
    behind = twin.rise_blur(images[0])[0]
    behind[[0, 0, 1], [0, 1, 0]] = images[0, 0, [0, 0, 1], [0, 1, 0]]  # the first three
    half = float(torch.sigmoid(2 * behind.sum()))
    expected = (blurred / 2 + half + 3 / 7) / 2
    assert float(rise["insertion"]) == pytest.approx(expected)
    authors = protocol_values(model, batch, explanation, PROTOCOLS["iavit_authors"], asked)
    assert float(authors["deletion"]) == pytest.approx((6 / 7 + 1 / 2 + 1 / 2) / 3)
    assert float(authors["insertion"]) == pytest.approx((1 / 2 + 6 / 7 + 6 / 7) / 3)


def test_chefer_by_hand() -> None:
    """2 x 5 pixels that sum to 21; a black one counts -1.

    Most important first: 15.5, 10, 4.5, 2.5, 0.5, -1.5, ...: five hits of nine. Least important
    first: 18.5, 16.5, ..., 6.5, 1, -4.5: eight.
    """
    images = painted(
        torch.tensor([[[4.5, 4.5, 4.5, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0, 1.5]]]).double(), 1
    )
    heat = [[float(10 - i) for i in range(5)], [float(5 - i) for i in range(5)]]
    batch = Batch(images, torch.tensor([0]))
    for label, positive, negative in ((0, 4.5 / 8, 7.5 / 8), (1, 1 - 4.5 / 8, 1 - 7.5 / 8)):
        found = protocol_values(
            additive((2, 5), 1), batch, described(heat), PROTOCOLS["chefer"], torch.tensor([label])
        )
        assert float(found["positive"]) == pytest.approx(positive)
        assert float(found["negative"]) == pytest.approx(negative)


def test_equal_to_the_sources_step_by_step(model: IAViT, batch: Batch) -> None:
    maps = torch.rand(3, 28, 28, dtype=torch.float64)
    asked = torch.tensor([4, 0, 9])
    explanation = Explanation(maps, asked, "test")
    predict = torch.no_grad()(model.predict)
    found = {
        name: protocol_values(model, batch, explanation, PROTOCOLS[name], asked)
        for name in ("rise", "iavit_authors", "chefer")
    }
    for i, image in enumerate(batch.images):
        order, target, nothing = twin.ranked(maps[i]), int(asked[i]), torch.zeros_like(image)
        deletion = twin.walked(predict, image, nothing, order, target)
        insertion = twin.walked(predict, nothing, image, order, target)
        blurred = twin.walked(predict, twin.rise_blur(image), image, order, target)
        assert len(deletion) == 29
        hits = [
            twin.chefer_hits(predict, image, maps[i], target, negative=negative)
            for negative in (False, True)
        ]
        areas = [(sum(of) - of[0] / 2 - of[-1] / 2) / 8 for of in hits]
        expected = {
            "rise": {"deletion": twin.rise_area(deletion), "insertion": twin.rise_area(blurred)},
            "iavit_authors": {"deletion": sum(deletion) / 29, "insertion": sum(insertion) / 29},
            "chefer": {"positive": areas[0], "negative": areas[1]},
        }
        for name, measures in expected.items():
            for measure, value in measures.items():
                got = float(found[name][measure][i])
                assert got == pytest.approx(value, abs=1e-6), (name, measure)


def test_the_blur_is_that_of_the_source(batch: Batch) -> None:
    expected = torch.stack([twin.rise_blur(image) for image in batch.images[:2, :, :13, :17]])
    assert torch.allclose(rise_blur(batch.images[:2, :, :13, :17]), expected, atol=1e-12)


def test_the_lowest_number_is_of_each_image(batch: Batch) -> None:
    found = lowest(batch.images)
    assert found.shape == batch.images.shape
    assert found[:, 0, 0, 0].tolist() == [float(image.min()) for image in batch.images]


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_a_map_of_patches_is_resized_and_a_batch_is_its_images(name: str) -> None:
    model = IAViT.create("vit_digits", num_classes=10, img_size=32).double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    batch, asked = Batch(images, torch.tensor([1, 2])), torch.tensor([4, 0])
    patches = torch.rand(2, 8, 8, dtype=torch.float64)
    pixels = nn.functional.interpolate(patches[:, None], (32, 32), mode="bilinear")[:, 0]
    found = [
        protocol_values(model, batch, Explanation(maps, asked, "test"), PROTOCOLS[name], asked)
        for maps in (patches, pixels)
    ]
    for i in range(2):
        alone = protocol_values(
            model,
            Batch(images[i : i + 1], batch.labels[i : i + 1]),
            Explanation(pixels[i : i + 1], asked[i : i + 1], "test"),
            PROTOCOLS[name],
            asked[i : i + 1],
        )
        for measure in PROTOCOLS[name].measures:
            assert torch.equal(found[0][measure], found[1][measure])
            assert torch.allclose(alone[measure][0], found[0][measure][i])


def test_images_that_are_not_made_of_whole_regions_are_refused(model: IAViT, batch: Batch) -> None:
    explanation = Explanation(torch.rand(3, 28, 28), batch.labels, "test")
    with pytest.raises(UserError, match=r"8 x 8 pixels do not divide images of 28 x 28"):
        protocol_values(model, batch, explanation, PROTOCOLS["quantus"], batch.labels)
