"""What is said of images, and which are the first right and wrong ones."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from iavit.evaluate import description as module
from iavit.evaluate.description import describe, right_and_wrong
from iavit.evaluate.trust import trust
from iavit.explain import EXPLAINERS
from tests.report import tiny_images, tiny_model


@pytest.mark.parametrize("batch", [1, 5, 250])
def test_takes_the_first_of_an_order(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", batch)
    saved, images = tiny_model(), tiny_images()
    with torch.no_grad():
        predicted = saved.model.predict(images[range(len(images))].images).argmax(dim=-1)
    truth = predicted.clone()
    truth[[0, 3, 4, 7, 8, 9]] = (predicted[[0, 3, 4, 7, 8, 9]] + 1) % len(saved.classes)
    backwards = torch.arange(12).flip(0)
    right, wrong = right_and_wrong(saved.model, replace(images, labels=truth), backwards, 4)
    assert right == [11, 10, 6, 5]
    assert wrong == [9, 8, 7, 4]


def test_both_branches_the_maps_and_the_trust() -> None:
    saved, images = tiny_model(), tiny_images()[range(23)].images
    found = describe(saved.model, images, {"mine": EXPLAINERS["contributions"]})
    with torch.no_grad():
        output = saved.model(images)
    torch.testing.assert_close(found.predictor, output.logits.softmax(dim=-1))
    torch.testing.assert_close(found.interpreter, output.interpreter_logits.softmax(dim=-1))
    assert found.targets.tolist() == output.logits.argmax(dim=-1).tolist()
    agree = output.logits.argmax(dim=-1) == output.interpreter_logits.argmax(dim=-1)
    assert found.agreement.tolist() == agree.tolist()
    assert set(agree.tolist()) == {True, False}
    expected = EXPLAINERS["contributions"](saved.model, images, found.targets).maps
    torch.testing.assert_close(found.explanations["mine"].maps, expected)
    torch.testing.assert_close(found.trust.trust, trust(saved.model, images).trust)


def test_explains_the_classes_that_are_named() -> None:
    saved, images = tiny_model(), tiny_images()[range(3)].images
    targets = torch.tensor([2, 0, 1])
    found = describe(saved.model, images, {"mine": EXPLAINERS["contributions"]}, targets)
    assert found.explanations["mine"].targets.tolist() == [2, 0, 1]
