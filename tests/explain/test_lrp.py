"""The rules by which relevance is handed back through a transformer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.explain import EXPLAINERS
from iavit.explain.lrp import Relevance
from iavit.explain.recording import record
from iavit.model.extractor import Extractor
from tests.explain.models import TARGETS, images, plain


@pytest.fixture(scope="module")
def vit() -> VisionTransformer:
    return plain()


def test_under_the_rules_the_model_says_what_it_says(vit: VisionTransformer) -> None:
    with Relevance() as mode:
        logits = record(Extractor(vit), images())[1]
    torch.testing.assert_close(logits.detach(), vit(images()))
    maps = Extractor(vit).attention_maps(images())
    for found, expected in zip(mode.maps, maps, strict=True):
        torch.testing.assert_close(found.detach(), expected)


def test_a_step_without_a_rule_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(x)

    vit = plain()
    vit.blocks[1].mlp.act = Sine()
    for name in ("transformer_attribution", "partial_lrp"):
        with pytest.raises(UserError, match=r"no rule for torch\.sin, which") as error:
            EXPLAINERS[name](vit, images(), TARGETS)
        assert "\n" not in str(error.value)
    assert not torch.overrides._get_current_function_mode_stack()


def relevance_after(compute: Callable[..., Tensor], *inputs: Tensor, given: Tensor) -> list[Tensor]:
    leaves = [one.clone().requires_grad_() for one in inputs]
    with Relevance():
        result = compute(*leaves)
    return list(torch.autograd.grad(result, leaves, given))


def test_attention_of_one_head_needs_no_axis_for_heads() -> None:
    """(B, T, D) as (B, 1, T, D): each image's tokens are compared with its own."""
    whole = torch.randn(3, 2, 5, 4)  # queries, keys and values
    given = torch.rand(2, 5, 4)
    attend = nn.functional.scaled_dot_product_attention
    plain_axes = relevance_after(attend, *whole, given=given)
    with_heads = relevance_after(attend, *whole[:, :, None], given=given[:, None])
    for one, other in zip(plain_axes, with_heads, strict=True):
        torch.testing.assert_close(one, other[:, 0])


def test_rules_by_hand() -> None:
    given = torch.tensor([[1.0]])
    x = torch.tensor([[1.0, 2.0, -1.0, -4.0]])
    weight = torch.tensor([[3.0, -1.0, -2.0, 5.0]])
    linear = nn.functional.linear
    # Positive terms: 1 * 3 and -1 * -2; the bias has no part.
    (found,) = relevance_after(lambda x: linear(x, weight, torch.ones(1)), x, given=given)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.0, 0.4, 0.0]]))
    # 2 + 6: a quarter and three quarters.
    both = relevance_after(torch.Tensor.add, 2 * given, 6 * given, given=given)
    assert [float(one) for one in both] == [0.25, 0.75]
    # 6 - 4 = 2: shares of 3 and -2 become 3/5 and 2/5 of the whole.
    both = relevance_after(torch.Tensor.add, 6 * given, -4 * given, given=given)
    torch.testing.assert_close(torch.cat(both), torch.tensor([[0.6], [0.4]]))
    both = relevance_after(torch.Tensor.add, -4 * given, 6 * given, given=given)
    torch.testing.assert_close(torch.cat(both), torch.tensor([[0.4], [0.6]]))
    # Each image has its own shares, and one that got nothing hands nothing on.
    both = relevance_after(
        torch.Tensor.add,
        torch.tensor([[2.0], [5.0]]),
        torch.tensor([[6.0], [1.0]]),
        given=torch.tensor([[0.8], [0.0]]),
    )
    torch.testing.assert_close(torch.cat(both, dim=1), torch.tensor([[0.2, 0.6], [0.0, 0.0]]))
    # All to what is no constant, on whichever side it stands.
    for one in (torch.Tensor.mul, torch.Tensor.add):
        (found,) = relevance_after(lambda x, f=one: f(x, 5 * given), 2 * given, given=given)
        assert float(found) == 1
        (found,) = relevance_after(lambda x, f=one: f(5 * given, x), 2 * given, given=given)
        assert float(found) == 1
    # A parameter is a number like others: all to what is none.
    offset = nn.Parameter(6 * given)
    (found,) = relevance_after(lambda x: torch.Tensor.add(x, offset), 2 * given, given=given)
    assert float(found) == 1
    # 1 * 2 + 3 * 4 = 14, and half to either factor.
    a, b = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0], [4.0]])
    first, second = relevance_after(torch.matmul, a, b, given=given)
    torch.testing.assert_close(first, torch.tensor([[1 / 14, 6 / 14]]))
    torch.testing.assert_close(second, torch.tensor([[1 / 14], [6 / 14]]))
    # 1 * 2 - 3 * 4 = -10: shares of -1/5 and 6/5.
    first, _ = relevance_after(torch.matmul, torch.tensor([[1.0, -3.0]]), b, given=given)
    torch.testing.assert_close(first, torch.tensor([[-0.1, 0.6]]))
    # Number by number, half to either factor; to one of two numbers, half of what both get.
    shares = torch.tensor([[1.0, 3.0]])
    first, second = relevance_after(torch.Tensor.mul, a, 5 * given, given=shares)
    torch.testing.assert_close(first, torch.tensor([[0.5, 1.5]]))
    torch.testing.assert_close(second, torch.tensor([[2.0]]))
    rows, expected = torch.tensor([[1.0, 3.0], [4.0, 1.0]]), torch.tensor([[0.5, 1.5], [4.0, 1.0]])
    (found,) = relevance_after(lambda x: x.mean(dim=1), rows, given=torch.tensor([2.0, 5.0]))
    torch.testing.assert_close(found, expected)
    (found,) = relevance_after(
        lambda x: x.sum(dim=1, keepdim=True), rows, given=torch.tensor([[2.0], [5.0]])
    )
    torch.testing.assert_close(found, expected)
    (found,) = relevance_after(lambda x: nn.functional.gelu(x), -given, given=given)
    assert float(found) == 1


def test_what_a_rule_computes_is_recorded_once() -> None:
    """Only what relevance flows to is kept: a second graph beside it would double the memory."""
    constant, leaf = torch.tensor([2.0]), torch.tensor([3.0], requires_grad=True)
    steps: list[Callable[[], Tensor]] = [
        lambda: leaf + constant,
        lambda: nn.functional.gelu(leaf),
        lambda: nn.functional.linear(leaf, constant),
        lambda: leaf.mean(dim=0),
    ]
    for compute in steps:
        with Relevance():
            result = compute()
        assert result.grad_fn is not None
        inputs = [node for node, _ in result.grad_fn.next_functions if node is not None]
        assert [type(node).__name__ for node in inputs] == ["AccumulateGrad"]
