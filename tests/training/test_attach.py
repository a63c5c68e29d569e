"""`iavit.attach`: an interpreter for a transformer, which stays as it is."""

from __future__ import annotations

import pytest
import torch
from docs.families import FAMILIES, small
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.extractor import Backbone
from iavit.training.attach import attach
from tests.model.test_families import images

VIT = FAMILIES[1]


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def attached(vit: Backbone, seed: int = 0) -> dict[str, Tensor]:
    model = attach(vit, images(vit, 5), steps=3, batch_size=4, seed=seed, branch_width=24)
    return {n: v.clone() for n, v in model.state_dict().items() if not n.startswith("extractor.")}


def test_the_model_is_left_as_it_was_found() -> None:
    vit = small(VIT)
    vit.blocks[0].train()
    vit.head.weight.requires_grad_(False)
    before, answers = weights(vit), vit(images(vit)).detach()
    model = attach(vit, images(vit, 5), steps=3, batch_size=4, branch_width=24)
    assert model.extractor.backbone is vit
    assert same(weights(vit), before)
    assert not vit.head.weight.requires_grad
    assert vit.head.bias.requires_grad
    with torch.no_grad():
        output = model(images(vit))
    torch.testing.assert_close(output.logits, answers)
    assert output.interpreter_logits.shape == answers.shape


def test_the_seed_decides_and_the_callers_draws_go_on() -> None:
    vit = small(VIT)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = attached(vit)
    assert torch.equal(torch.rand(3), expected)
    assert same(first, attached(small(VIT)))
    assert not same(first, attached(small(VIT), seed=1))


def test_the_interpreter_learns_what_the_model_answers() -> None:
    vit = small(VIT)
    many = images(vit, 16)
    with torch.no_grad():
        wanted = vit(many).softmax(dim=-1)

    def distance(steps: int) -> float:
        model = attach(vit, many, steps=steps, batch_size=16, lr=0.02, branch_width=24)
        with torch.no_grad():
            said = model(many).interpreter_logits.softmax(dim=-1)
        return float((said - wanted).abs().sum(dim=-1).mean())

    assert distance(40) < 0.7 * distance(1)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (nn.Linear(3, 2), "a Linear cannot be given an interpreter; use a timm vision transformer"),
        (small(VIT), r"`images` of shape \(0, 3, 48, 32\): give \(n, 3, H, W\), n at least 1"),
    ],
)
def test_what_cannot_be_explained_is_refused(given: nn.Module, line: str) -> None:
    with pytest.raises(UserError, match=line):
        attach(given, torch.zeros(0, 3, 48, 32), steps=1)


def test_answers_that_are_no_numbers_are_refused_and_the_model_is_as_before() -> None:
    vit = small(VIT)
    with torch.no_grad():
        vit.head.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="step 1: the loss is not a number"):
        attach(vit, images(vit), steps=1, branch_width=24)
    assert vit.head.weight.requires_grad
