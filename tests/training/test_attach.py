"""`iavit.attach`: an interpreter in Python, for a classifier that stays as it is."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from iavit.config import RECIPES
from iavit.errors import UserError
from iavit.model.iavit import IAViT
from iavit.model.programs import read_program
from iavit.objective.simulation import simulation
from iavit.training import attach as attaching
from iavit.training.attach import attach
from iavit.training.finetune import seed
from tests.model.models import CLASSES, SIZE, convolutional, pictures, trace

ANSWERS_ALONE = replace(RECIPES["faithful"], effect_share=0.0)


def vit() -> nn.Module:
    model: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", img_size=SIZE, patch_size=4, embed_dim=32, depth=2, num_heads=2,
        num_classes=CLASSES,
    )  # fmt: skip
    return model


def attached(model: nn.Module, **options: object) -> IAViT:
    few = {"steps": 3, "batch_size": 4, **options}
    return attach(model, pictures(), **few)  # type: ignore[arg-type]


@pytest.mark.parametrize("build", [vit, convolutional])
def test_no_weight_and_no_statistic_of_the_model_changes(build: object) -> None:
    model: nn.Module = build()  # type: ignore[operator]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    held = next(model.parameters()).requires_grad_(False)
    explained = attached(model)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [p is held for p in model.parameters() if not p.requires_grad] == [True]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(explained.predict(pictures()), model.eval()(pictures()))


@pytest.mark.parametrize("build", [vit, convolutional])
def test_what_explains_learns(build: object) -> None:
    torch.manual_seed(0)
    model = sharpened(build())  # type: ignore[operator]
    gaps = []
    for steps in (1, 60):
        explained = attached(model, steps=steps, batch_size=12, lr=5e-3)
        with torch.no_grad():
            output = explained(pictures(), attention="none")
            gaps.append(float(simulation(output.logits, output.interpreter_logits, 1.0)))
    assert gaps[1] < gaps[0] / 2


def sharpened(model: nn.Module) -> nn.Module:
    """With answers that differ from image to image."""
    head = model.head if hasattr(model, "head") else list(model.children())[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight *= 30
    return model


def test_the_same_seed_gives_the_same_interpreter_and_leaves_torchs_draws() -> None:
    state = torch.get_rng_state()
    first, second = (attached(convolutional()) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.contributions(pictures()), second.contributions(pictures()))
    other = attached(convolutional(), seed=1)
    assert not torch.equal(first.contributions(pictures()), other.contributions(pictures()))


def test_a_backbone_of_its_own_beside_a_transformer_too() -> None:
    explained = attached(vit(), backbone="vit_digits")
    assert explained.architecture.backbone == "vit_digits"
    assert "one of the interpreter's own vit_digits" in explained.cost
    assert "one forward pass together" in attached(vit()).cost


def test_a_program_and_an_exported_graph_are_explained(tmp_path: object) -> None:
    model = convolutional().eval()
    path = trace(model, tmp_path / "model.pt")  # type: ignore[operator]
    batch = {0: torch.export.Dim("batch")}
    exported = torch.export.export(model, (pictures(2),), dynamic_shapes=(batch,)).module()
    for form in (read_program(path).module(), exported):
        torch.testing.assert_close(attached(form).predict(pictures()), model(pictures()))


class NoGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = convolutional()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images)


def test_without_gradient_the_answers_alone_are_learned_if_one_says_so() -> None:
    with pytest.raises(UserError, match=r"no gradient flows .*; with `effect_share` 0 the interp"):
        attached(NoGradient())
    explained = attached(NoGradient(), objective=ANSWERS_ALONE)
    assert torch.equal(explained.predict(pictures()), convolutional().eval()(pictures()))


class Infinite(nn.Module):
    """Finite on an empty image alone."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) / (images.abs().amax(dim=(1, 2, 3)) == 0)[:, None].float()


@pytest.mark.parametrize("build", [Infinite, vit])
def test_answers_that_are_no_numbers(build: object) -> None:
    model: nn.Module = build()  # type: ignore[operator]
    if isinstance(model, timm.models.vision_transformer.VisionTransformer):
        nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(UserError, match="values that are no numbers") as error:
        attached(model)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (torch.zeros(2, 3, 8, 8), "images of 8 x 8 pixels; this model reads 16 x 16"),
        (torch.zeros(3, 16, 16), r"`images` of shape \(3, 16, 16\): give"),
        (torch.zeros(0, 3, 16, 16), r"`images` of shape \(0, 3, 16, 16\)"),
        (torch.zeros(2, 3, 16, 16).byte(), r"`images` are torch.uint8: give float32"),
        (torch.zeros(2, 3, 16, 16).double(), r"`images` are torch.float64: give float32"),
    ],
    ids=["size", "one", "none", "pixels", "double"],
)
def test_images_that_the_model_does_not_read(images: Tensor, reason: str) -> None:
    model = vit()
    with pytest.raises(UserError, match=reason):
        attach(model, images, steps=1)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_step_is_one_of_adamw_on_a_batch_that_its_number_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of ten steps half a one, so none, warms up; gradients are no longer than 1."""
    model: Any = nn.Linear(4, 3, bias=False)
    model.weight.data.fill_(5.0)
    twin = nn.Parameter(model.weight.detach().clone())
    optimizer = torch.optim.AdamW([twin], lr=0.3)
    images = torch.arange(7.0)[:, None, None, None]
    drawn: list[Tensor] = []

    def terms(model: Any, batch: Tensor, labels: None, config: object) -> dict[str, Tensor]:
        assert (labels, config) == (None, ANSWERS_ALONE)
        drawn.append(batch.flatten())
        return {"loss": model.weight.square().sum()}

    monkeypatch.setattr(attaching, "objective_terms", terms)
    attaching._train(model, images, 10, 3, 0.3, 11, ANSWERS_ALONE)
    for step in range(10):
        seed(11, step)
        assert torch.equal(drawn[step], torch.randint(7, (3,)).float())
        optimizer.param_groups[0]["lr"] = 0.3 * (1 + math.cos(math.pi * step / 10)) / 2
        twin.grad = 2 * twin.detach() / (2 * twin.detach()).norm()
        optimizer.step()
    torch.testing.assert_close(model.weight, twin)
    drawn.clear()
    attaching._train(model, images, 1, 64, 0.3, 0, ANSWERS_ALONE)
    assert len(drawn[0]) == 7  # of fewer images than a batch has


def test_a_loss_that_is_no_number_ends_the_training_at_its_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = nn.Linear(4, 3)
    losses = iter([1.0, 2.0, math.nan])
    monkeypatch.setattr(
        attaching, "objective_terms", lambda *given: {"loss": model.weight.sum() * next(losses)}
    )
    with pytest.raises(UserError, match="step 3: the loss is not a number; look at what"):
        attaching._train(model, torch.zeros(2, 1), 9, 2, 0.1, 0, ANSWERS_ALONE)


def test_what_attach_goes_by_where_nothing_is_said() -> None:
    named = inspect.signature(attach).parameters.values()
    assert {each.name: each.default for each in named if each.default is not each.empty} == {
        "steps": 2000, "batch_size": 64, "lr": 0.002, "seed": 0, "branch_width": None,
        "backbone": None, "objective": None,
    }  # fmt: skip


def test_what_explains_is_as_wide_as_one_says_and_ready_for_use() -> None:
    explained = attached(vit(), branch_width=16)
    assert not explained.training
    assert explained.architecture.branch_width == 16


@pytest.mark.parametrize("numbers", [{"steps": -1}, {"batch_size": 0}, {"lr": 0.0}], ids=str)
def test_numbers_with_which_nothing_can_be_trained(numbers: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"`steps` .* at least 0, at least 1 and above 0"):
        attached(vit(), **numbers)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_learns_whatever_the_caller_switched_off(mode: Any) -> None:
    model = vit()
    expected = attached(model).contributions(pictures())
    with mode():
        explained = attach(model, pictures() + 0, steps=3, batch_size=4)
    torch.testing.assert_close(explained.contributions(pictures()), expected)


def test_a_transformer_with_a_single_logit_has_nothing_to_explain() -> None:
    model: Any = vit()
    model.reset_classifier(1)
    with pytest.raises(UserError, match=r"single logit.* two for yes and no"):
        attached(model)
