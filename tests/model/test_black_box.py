"""Beside a classifier of any kind: answers are its own, and nothing looks inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iavit.data.transforms import Normalisation
from iavit.errors import UserError
from iavit.explain import EXPLAINERS
from iavit.masking.engine import Perturbation, masked_answers
from iavit.masking.substrates import SUBSTRATES
from iavit.model.explainable import extractor_of, predictor_of
from iavit.model.iavit import IAViT
from iavit.model.programs import read_program
from iavit.model.weights import Saved, load_model, save_model
from tests.model.models import CLASSES, SIZE, convolutional, pictures, trace

INSIDE = {
    "raw_attention", "rollout", "attention_received", "grad_cam", "attgrads", "attcam",
    "generic_attention", "transformer_attribution", "partial_lrp",
}  # fmt: skip
TARGETS = torch.tensor([2, 0])


def beside(classifier: nn.Module | None = None) -> IAViT:
    return IAViT.beside(classifier or convolutional(), SIZE, "vit_digits").eval()


def test_predictions_are_the_classifiers_and_the_interpreter_adds_up() -> None:
    classifier = convolutional()
    model = beside(classifier)
    images = pictures(5)
    output = model(images, attention="none")
    assert torch.equal(output.logits, classifier.eval()(images))
    assert torch.equal(model.predict(images), output.logits)
    assert torch.equal(model(images, interpret=0).logits, output.logits)
    assert output.interpreter_attention.shape == (5, 16)
    torch.testing.assert_close(
        model.contributions(images).sum(dim=1) + model.interpreter.bias, output.interpreter_logits
    )
    assert model(images, interpret=2, attention="none").interpreter_logits.shape == (2, CLASSES)


def test_the_classifier_stays_in_evaluation_mode_while_its_interpreter_trains() -> None:
    model = beside().train()
    classifier: Any = predictor_of(model)
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    assert torch.equal(model.predict(pictures()), model.predict(pictures()))  # no dropout
    model(pictures(), attention="none").interpreter_logits.sum().backward()
    assert all(torch.equal(before[name], v) for name, v in classifier.state_dict().items())
    assert all(p.grad is None for p in classifier.parameters())
    assert model.branch is not None
    assert all(p.grad is not None for p in model.interpreter.parameters())


class Names(nn.Module):
    """As transformers answers."""

    def __init__(self, as_object: bool) -> None:
        super().__init__()
        self.inner, self.as_object = convolutional(), as_object

    def forward(self, images: Tensor) -> Any:
        logits = self.inner(images)
        return type("Answer", (), {"logits": logits}) if self.as_object else {"logits": logits}


@pytest.mark.parametrize("as_object", [True, False])
def test_logits_may_have_that_name(as_object: bool) -> None:
    logits = beside(Names(as_object)).predict(pictures())
    assert torch.equal(logits, convolutional().eval()(pictures()))


@pytest.mark.parametrize("name", EXPLAINERS)
def test_every_explainer_explains_its_answers_or_says_why_not(name: str) -> None:
    model = beside()
    if name in INSIDE:
        with pytest.raises(UserError, match="reads the tokens or attention of a plain vision"):
            EXPLAINERS[name](model, pictures(2), TARGETS)
        return
    maps = EXPLAINERS[name](model, pictures(2), TARGETS).maps
    assert maps.shape[1:] in ((4, 4), (SIZE, SIZE))
    assert maps.isfinite().all()


def test_occlusion_is_what_the_classifier_loses() -> None:
    classifier = convolutional().eval()
    images = pictures(2)
    maps = EXPLAINERS["occlusion"](beside(classifier), images, TARGETS).maps
    covered = images.clone()
    covered[:, :, 4:8, 8:12] = 0
    lost = (classifier(images) - classifier(covered)).gather(1, TARGETS[:, None])[:, 0]
    torch.testing.assert_close(maps[:, 1, 2].float(), lost, rtol=1e-4, atol=1e-5)


def test_tokens_cannot_be_dropped() -> None:
    visible = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    with pytest.raises(UserError, match="drop leaves out a transformer's tokens"):
        masked_answers(beside(), pictures(2), TARGETS, visible, Perturbation(SUBSTRATES["drop"]))
    with pytest.raises(UserError, match="reads the tokens or attention"):
        extractor_of(beside())


@pytest.mark.parametrize(
    ("classifier", "reason"),
    [
        (nn.Conv2d(3, 4, 3), r"answers 2 images with shape \(2, 4, 14, 14\)"),
        (nn.Linear(3, 4), r"does not answer images of shape \(2, 3, 16, 16\): mat1 and mat2"),
        (nn.Sequential(convolutional(), nn.Linear(3, 1)), "a single logit"),
        (nn.Sequential(convolutional(), nn.Flatten(0)), r"answers 2 images with shape \(6,\)"),
    ],
    ids=["map", "size", "one", "flat"],
)
def test_what_does_not_answer_with_logits_is_refused(classifier: nn.Module, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        beside(classifier)
    assert "\n" not in str(error.value)


def test_the_empty_image_is_where_the_classifier_is() -> None:
    """On a device without numbers, the shape of its answer."""
    with torch.device("meta"):
        classifier = convolutional(classes=7)
    assert beside(classifier).architecture.num_classes == 7


def test_a_run_keeps_the_file_itself(tmp_path: Path) -> None:
    path = trace(convolutional().eval(), tmp_path / "model.pt")
    program = read_program(path)
    model = IAViT.beside(program.module(), SIZE, "vit_digits", program=program).eval()
    save_model(Saved(model, ("a", "b", "c"), Normalisation()), tmp_path / "saved")
    assert (tmp_path / "saved" / "classifier.pt").read_bytes() == path.read_bytes()
    again = load_model(tmp_path / "saved").model
    assert torch.equal(again.predict(pictures()), convolutional().eval()(pictures()))
    assert torch.equal(again.contributions(pictures()), model.contributions(pictures()))
    (tmp_path / "saved" / "classifier.pt").write_bytes(
        trace(convolutional(classes=CLASSES).eval(), tmp_path / "other.pt", 32).read_bytes()
    )
    with pytest.raises(UserError, match=r"classifier\.pt is damaged: its checksum differs"):
        load_model(tmp_path / "saved")


def test_a_classifier_given_in_python_is_not_saved(tmp_path: Path) -> None:
    saved = Saved(beside(), ("a", "b", "c"), Normalisation())
    with pytest.raises(UserError, match="a Sequential given in Python cannot be saved"):
        save_model(saved, tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
