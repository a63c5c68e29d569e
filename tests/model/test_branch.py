from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from iavit.model.branch import Branch, default_width
from iavit.model.iavit import IAViT
from tests.reference.branch import branch_tokens


def layers(depth: int, channels: int) -> list[Tensor]:
    torch.manual_seed(3)
    return [torch.randn(2, 7, channels, dtype=torch.float64) for _ in range(depth + 1)]


@pytest.mark.parametrize("depth", [1, 3])
def test_the_branch_is_its_equation(depth: int) -> None:
    branch = Branch(channels=11, width=32, depth=depth).double().eval()
    given = layers(depth, 11)
    torch.testing.assert_close(branch(given), branch_tokens(branch, given))


def test_every_layer_is_read_and_none_gets_a_gradient() -> None:
    branch = Branch(channels=11, width=32, depth=3).double()
    given = [layer.requires_grad_() for layer in layers(3, 11)]
    tokens = branch(given)
    tokens.square().sum().backward()
    assert all(layer.grad is None for layer in given)
    for number in range(4):
        changed = [layer + (at == number) for at, layer in enumerate(given)]
        changed[number] = changed[number] * torch.linspace(1, 2, 11)
        assert not torch.allclose(branch(changed), tokens)


def test_a_quarter_of_the_width_but_no_less_than_64() -> None:
    assert [default_width(channels) for channels in (64, 192, 384, 768)] == [64, 64, 96, 192]


def test_a_model_with_a_branch_predicts_as_the_one_without() -> None:
    torch.manual_seed(0)
    plain = IAViT.create("vit_digits", 10).eval()
    torch.manual_seed(0)
    branched = IAViT.create("vit_digits", 10, branch_width=32).eval()
    images = torch.randn(3, 3, 32, 32)
    for name, weight in plain.extractor.state_dict().items():
        assert torch.equal(branched.extractor.state_dict()[name], weight)
    torch.testing.assert_close(branched(images).logits, plain(images).logits)
    assert branched(images).interpreter_tokens.shape == (3, 64, 32)


def test_nothing_that_the_interpreter_learns_reaches_the_extractor() -> None:
    model = IAViT.create("vit_digits", 10, branch_width=32)
    output = model(torch.randn(3, 3, 32, 32), attention="none")
    (output.interpreter_logits.square().sum() + output.interpreter_attention[:, 0].sum()).backward()
    assert all(parameter.grad is None for parameter in model.extractor.parameters())
    assert isinstance(model.branch, nn.Module)
    assert all(p.grad is not None for p in model.branch.parameters())


def test_contributions_of_a_branch_add_up_to_its_logits() -> None:
    model = IAViT.create("vit_digits", 10, branch_width=32).double().eval()
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    total = model.contributions(images).sum(dim=1) + model.interpreter.bias
    torch.testing.assert_close(total, model(images).interpreter_logits)


@pytest.mark.parametrize("width", [1, 7, 40, 100, 112, 208])
def test_any_width_has_heads_that_share_it_equally(width: int) -> None:
    branch = Branch(channels=11, width=width, depth=1).double()
    assert branch(layers(1, 11)).shape == (2, 7, width)


def test_no_head_is_narrower_than_it_may_be_and_common_widths_have_as_many_as_fit() -> None:
    blocks: list[Any] = [Branch(11, width, 1).blocks[0] for width in (64, 96, 192, 208, 256)]
    heads = [block.attn.num_heads for block in blocks]
    assert heads == [2, 3, 6, 4, 8]
