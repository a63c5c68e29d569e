"""The three parts joined."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from iavit.data.transforms import Normalisation
from iavit.model.explainable import extractor_of
from iavit.model.extractor import Extractor
from iavit.model.iavit import Architecture, IAViT
from iavit.model.interpreter import Interpreter, InterpreterHead
from iavit.model.weights import Saved, load_model, save_model
from tests.model.models import convolutional
from tests.reference import interpreter as twin

HEADS: tuple[InterpreterHead, ...] = get_args(InterpreterHead)
CLASSES, SIZE = 5, 12  # 12 pixels are 3 x 3 patches


def randomise(model: IAViT) -> IAViT:
    """Weights large enough for attention far from uniform."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return model.eval()


def create(head: InterpreterHead = "mean") -> IAViT:
    return randomise(IAViT.create("vit_digits", CLASSES, SIZE, interpreter_head=head))


def with_registers(registers: int, head: InterpreterHead) -> IAViT:
    vit = VisionTransformer(
        img_size=SIZE,
        patch_size=4,
        num_classes=CLASSES,
        embed_dim=16,
        depth=2,
        num_heads=2,
        reg_tokens=registers,
    )
    interpreter = Interpreter(16, 9, CLASSES, head)
    return randomise(IAViT(Extractor(vit), interpreter, Architecture("tiny", CLASSES, SIZE, head)))


def images() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def test_create_joins_parts_that_fit() -> None:
    model = IAViT.create("vit_digits", CLASSES)
    assert model.architecture == Architecture("vit_digits", CLASSES, 32, "mean")
    assert model.grid == (8, 8)
    output = model(torch.zeros(3, 3, 32, 32))
    assert output.logits.shape == output.interpreter_logits.shape == (3, CLASSES)
    assert output.extractor_attention.shape == output.interpreter_attention.shape == (3, 64)


def test_the_architecture_builds_the_same_parameters_again() -> None:
    model = create("positional")
    again = IAViT.create(
        model.architecture.backbone,
        model.architecture.num_classes,
        model.architecture.img_size,
        interpreter_head=model.architecture.interpreter_head,
    )
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(images()).logits, model(images()).logits)


@pytest.mark.parametrize("head", HEADS)
def test_predictor_is_the_backbone(head: InterpreterHead) -> None:
    model = create(head)
    expected = model.extractor.backbone(images())
    torch.testing.assert_close(model(images()).logits, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.predict(images()), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("registers", [0, 2])
def test_interpreter_reads_the_patch_tokens_after_the_final_norm(
    head: InterpreterHead, registers: int
) -> None:
    model = with_registers(registers, head).double()
    pictures = images().double()
    tokens = model.extractor.backbone.forward_features(pictures).detach()
    patches, g = tokens[:, 1 + registers :], model.interpreter.state_dict()
    logits = {"mean": twin.mean_logits, "positional": twin.positional_logits}[head]
    output = model(pictures)
    expected = torch.stack([logits(g, z) for z in patches])
    torch.testing.assert_close(output.interpreter_logits, expected)
    expected = torch.stack([twin.received(g, z) for z in patches])
    torch.testing.assert_close(output.interpreter_attention, expected)


def test_extractor_attention_is_the_extractors() -> None:
    model = create()
    expected = model.extractor(images()).attention
    torch.testing.assert_close(model(images()).extractor_attention, expected)


@pytest.mark.parametrize("head", HEADS)
def test_both_attentions_are_probability_vectors(head: InterpreterHead) -> None:
    output = create(head)(images())
    for attention in (output.extractor_attention, output.interpreter_attention):
        assert (attention > 0).all()
        torch.testing.assert_close(attention.sum(dim=1), torch.ones(2))


@pytest.mark.parametrize("head", HEADS)
def test_contributions_and_bias_add_up_to_the_interpreters_logits(head: InterpreterHead) -> None:
    model = create(head)
    total = model.contributions(images()).sum(dim=1) + model.interpreter.bias
    torch.testing.assert_close(total, model(images()).interpreter_logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_batch_is_its_images_one_by_one(head: InterpreterHead) -> None:
    model = create(head)
    together, alone = model(images()), [model(image[None]) for image in images()]
    for name in vars(together):
        expected = torch.cat([getattr(output, name) for output in alone])
        torch.testing.assert_close(getattr(together, name), expected, rtol=1e-4, atol=1e-5)


def test_what_is_not_asked_for_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = create()
    whole = model(images())

    def unwanted(*_: object, **__: object) -> None:
        raise AssertionError

    first = model(images(), interpret=1)
    torch.testing.assert_close(first.logits, whole.logits)
    torch.testing.assert_close(first.tokens, whole.tokens)
    for name in ("interpreter_logits", "extractor_attention", "interpreter_attention"):
        torch.testing.assert_close(getattr(first, name), getattr(whole, name)[:1])
    monkeypatch.setattr("iavit.model.extractor.attention_received", unwanted)
    without = model(images(), attention="none")
    assert without.extractor_attention.shape == (2, 0)
    for name in ("logits", "interpreter_logits", "interpreter_attention"):
        torch.testing.assert_close(getattr(without, name), getattr(whole, name))
    with pytest.raises(AssertionError):
        model(images())
    monkeypatch.setattr(Interpreter, "forward", unwanted)
    plain = model(images(), interpret=0)
    torch.testing.assert_close(plain.logits, whole.logits)
    assert len(plain.interpreter_logits) == len(plain.interpreter_attention) == 0


@pytest.mark.parametrize("head", HEADS)
def test_both_branches_read_the_tokens_that_are_given_out(head: InterpreterHead) -> None:
    model = create(head)
    output = model(images())
    assert output.tokens.shape == (2, 10, 64)  # a class token and 3 x 3 patches
    torch.testing.assert_close(output.tokens, model.extractor.backbone.forward_features(images()))
    torch.testing.assert_close(model.extractor.predict(output.tokens), output.logits)
    logits, attention = model.interpreter(extractor_of(model).patches(output.tokens))
    torch.testing.assert_close(logits, output.interpreter_logits)
    torch.testing.assert_close(attention, output.interpreter_attention)


def test_gradient_flows_through_the_extractors_attention_only_where_asked() -> None:
    model = create()
    assert not model(images()).extractor_attention.requires_grad
    output = model(images(), attention="gradient")
    assert output.extractor_attention.requires_grad
    assert output.interpreter_attention.requires_grad
    expected = model(images()).extractor_attention
    torch.testing.assert_close(output.extractor_attention, expected)


def test_an_image_may_be_higher_than_wide_and_is_so_when_loaded(tmp_path: Path) -> None:
    model = randomise(IAViT.create("vit_digits", CLASSES, (24, 16)))
    assert model.architecture.img_size == (24, 16)
    assert model.grid == (6, 4)
    pictures = torch.randn(2, 3, 24, 16)
    save_model(Saved(model, ("a", "b", "c", "d", "e"), Normalisation()), tmp_path)
    again = load_model(tmp_path).model
    assert again.architecture == model.architecture
    assert torch.equal(again(pictures).interpreter_logits, model(pictures).interpreter_logits)


def test_the_interpreter_reads_normed_patches_where_the_norm_follows_the_pooling() -> None:
    vit = VisionTransformer(
        img_size=SIZE, patch_size=4, embed_dim=16, depth=1, num_heads=2, num_classes=CLASSES,
        class_token=False, global_pool="avg", reg_tokens=2,
    )  # fmt: skip
    model = randomise(
        IAViT(Extractor(vit), Interpreter(16, 9, CLASSES), Architecture("tiny", CLASSES, SIZE))
    )
    patches = vit.forward_features(images())[:, 2:]
    expected = model.interpreter(vit.fc_norm(patches))
    output = model(images())
    torch.testing.assert_close(output.interpreter_logits, expected[0])
    torch.testing.assert_close(output.interpreter_attention, expected[1])


@pytest.mark.parametrize("head", HEADS)
def test_either_head_is_saved_and_loaded(head: InterpreterHead, tmp_path: Path) -> None:
    model = IAViT.create("vit_digits", CLASSES, SIZE, interpreter_head=head)
    saved = Saved(randomise(model), ("a", "b", "c", "d", "e"), Normalisation())
    save_model(saved, tmp_path)
    again = load_model(tmp_path).model
    assert again.architecture == Architecture("vit_digits", CLASSES, SIZE, head)
    expected, output = model(images()), again(images())
    assert all(torch.equal(getattr(output, name), part) for name, part in vars(expected).items())
    total = again.contributions(images()).sum(dim=1) + again.interpreter.bias
    torch.testing.assert_close(total, output.interpreter_logits, rtol=1e-5, atol=1e-5)


def test_beside_a_classifier_stands_a_backbone_for_its_images() -> None:
    classifier = convolutional()
    model = IAViT.beside(classifier, (16, 24), interpreter_head="positional")
    assert model.architecture == Architecture("vit_photos", 3, (16, 24), "positional")
    assert model.grid == (4, 6)
    images = torch.randn(2, 3, 16, 24)
    output = model.eval()(images)
    torch.testing.assert_close(output.logits, classifier(images))
    assert output.interpreter_logits.shape == (2, 3)
    assert IAViT.beside(classifier, 16, "vit_digits").architecture.img_size == 16
    assert (
        IAViT.beside(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), 4).architecture.num_classes == 5
    )
