"""The interpreter: its two heads, its attention, and what each patch contributes."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from iavit.errors import UserError
from iavit.model.interpreter import Interpreter, InterpreterHead
from tests.reference import interpreter as twin

BATCH, PATCHES, CHANNELS, CLASSES = 2, 3, 5, 7
HEADS: tuple[InterpreterHead, ...] = get_args(InterpreterHead)

# The hand-computed case. Every query q scores patch k with `ln 2 * m_q * n_k`, where `m` and
# `n` are channels 0 and 1 of the tokens: n = (0, 1, 2), so `A[q]` is proportional to
# (1, 2^m_q, 4^m_q). In units of 1/21, m = 0, 1, 2 give (7, 7, 7), (3, 6, 12), (1, 4, 16).
M = [[0.0, 1.0, 2.0], [0.0, 0.0, 1.0]]
MAPS = torch.tensor(
    [[[7, 7, 7], [3, 6, 12], [1, 4, 16]], [[7, 7, 7], [7, 7, 7], [3, 6, 12]]],
    dtype=torch.float64,
).div(21)
RECEIVED = torch.tensor([[11, 17, 35], [17, 20, 26]], dtype=torch.float64).div(63)
# Head `mean`: context (11, 17, 35) and (17, 20, 26), as the values are 63 times one patch's
# channel each. Row c of W meets it as `W_c . context`.
MEAN_WEIGHT = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [2, -1, 0], [0, 3, -2], [0, 0, 0]]
MEAN_BIAS = [0, 1, 0, -63, 0, 0, 5]
MEAN_LOGITS = [[11, 18, 35, 0, 5, -19, 5], [17, 21, 26, 0, 14, 8, 5]]
# Head `positional`: w = (1, 2, 3) on those channels and c = 4, so s_q = 63 A[q] . (1, 2, 3) + 4,
# which is (130, 157, 175) and (130, 130, 157). Row c of U, the same numbers, meets that.
POSITIONAL_LOGITS = [[130, 158, 175, 399, 103, 121, 5], [130, 131, 157, 354, 130, 76, 5]]


def tokens_by_hand() -> Tensor:
    """Channels: m_q, n_k, then a 63 for patch 0, for patch 1, for patch 2; (B, N, D)."""
    tokens = torch.zeros(BATCH, PATCHES, CHANNELS, dtype=torch.float64)
    tokens[:, :, 0] = torch.tensor(M, dtype=torch.float64)
    tokens[:, :, 1] = torch.arange(3.0, dtype=torch.float64)
    tokens[:, :, 2:] = 63 * torch.eye(3, dtype=torch.float64)
    return tokens


def interpreter_by_hand(head: InterpreterHead) -> Interpreter:
    g = Interpreter(CHANNELS, PATCHES, CLASSES, head).double()
    with torch.no_grad():
        for parameter in g.parameters():
            parameter.zero_()
        # The square root undoes the division by sqrt(D).
        g.query.weight[3, 0] = math.log(2) * math.sqrt(CHANNELS)
        g.key.weight[3, 1] = 1
        g.value.weight.copy_(torch.eye(CHANNELS))
        g.head.bias.copy_(torch.tensor(MEAN_BIAS))
        if g.token_score is None:
            g.head.weight[:, 2:] = torch.tensor(MEAN_WEIGHT, dtype=torch.float64)
        else:
            g.head.weight.copy_(torch.tensor(MEAN_WEIGHT))
            g.token_score.weight[0, 2:] = torch.tensor([1.0, 2.0, 3.0])
            g.token_score.bias.fill_(4)
    return g


def random_interpreter(head: InterpreterHead, dtype: torch.dtype = torch.float64) -> Interpreter:
    """Weights large enough for an attention far from uniform."""
    torch.manual_seed(0)
    g = Interpreter(CHANNELS, PATCHES, CLASSES, head)
    for parameter in g.parameters():
        nn.init.normal_(parameter)
    return g.to(dtype)


def random_tokens(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(BATCH, PATCHES, CHANNELS, generator=generator, dtype=dtype)


def twin_of_batch(name: str, g: Interpreter, tokens: Tensor) -> Tensor:
    function = {
        "attention": twin.attention,
        "received": twin.received,
        "mean_logits": twin.mean_logits,
        "positional_logits": twin.positional_logits,
        "mean_contributions": twin.mean_contributions,
        "positional_contributions": twin.positional_contributions,
    }[name]
    return torch.stack([function(g.state_dict(), z) for z in tokens])


@pytest.mark.parametrize("head", HEADS)
def test_attention_by_hand(head: InterpreterHead) -> None:
    g = interpreter_by_hand(head)
    torch.testing.assert_close(g.attention(tokens_by_hand()), MAPS)
    torch.testing.assert_close(g(tokens_by_hand())[1], RECEIVED)


def test_mean_head_by_hand() -> None:
    logits, _ = interpreter_by_hand("mean")(tokens_by_hand())
    torch.testing.assert_close(logits, torch.tensor(MEAN_LOGITS, dtype=torch.float64))


def test_positional_head_by_hand() -> None:
    logits, _ = interpreter_by_hand("positional")(tokens_by_hand())
    torch.testing.assert_close(logits, torch.tensor(POSITIONAL_LOGITS, dtype=torch.float64))


def test_mean_contributions_by_hand() -> None:
    # Patch k adds its own column of W times its own part of the context.
    expected = torch.tensor(MEAN_WEIGHT, dtype=torch.float64).T * (63 * RECEIVED)[:, :, None]
    contributions = interpreter_by_hand("mean").contributions(tokens_by_hand())
    torch.testing.assert_close(contributions, expected)


def test_positional_contributions_by_hand() -> None:
    contributions = interpreter_by_hand("positional").contributions(tokens_by_hand())
    # Class 0 reads position 0 alone, where A is (7, 7, 7) / 21; class 2 reads position 2.
    class_0, class_2 = contributions[..., 0], contributions[..., 2]
    torch.testing.assert_close(class_0[0], torch.tensor([21.0, 42.0, 63.0]).double())
    torch.testing.assert_close(class_2[0], torch.tensor([3.0, 24.0, 144.0]).double())
    torch.testing.assert_close(class_2[1], torch.tensor([9.0, 36.0, 108.0]).double())


@pytest.mark.parametrize("head", HEADS)
def test_attention_equals_the_twin(head: InterpreterHead) -> None:
    g, tokens = random_interpreter(head), random_tokens()
    attention, (_, received) = g.attention(tokens), g(tokens)
    torch.testing.assert_close(attention, twin_of_batch("attention", g, tokens))
    torch.testing.assert_close(received, twin_of_batch("received", g, tokens))


@pytest.mark.parametrize("head", HEADS)
def test_logits_equal_the_twin(head: InterpreterHead) -> None:
    g, tokens = random_interpreter(head), random_tokens()
    logits, _ = g(tokens)
    torch.testing.assert_close(logits, twin_of_batch(f"{head}_logits", g, tokens))


@pytest.mark.parametrize("head", HEADS)
def test_contributions_equal_the_twin(head: InterpreterHead) -> None:
    g, tokens = random_interpreter(head), random_tokens()
    expected = twin_of_batch(f"{head}_contributions", g, tokens)
    torch.testing.assert_close(g.contributions(tokens), expected)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_contributions_and_bias_add_up_to_the_logits(
    head: InterpreterHead, dtype: torch.dtype
) -> None:
    g, tokens = random_interpreter(head, dtype), random_tokens(dtype)
    logits, _ = g(tokens)
    total = g.contributions(tokens).sum(dim=1) + g.bias
    torch.testing.assert_close(total, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_received_is_a_probability_vector(head: InterpreterHead) -> None:
    _, received = random_interpreter(head)(random_tokens())
    assert (received > 0).all()
    torch.testing.assert_close(received.sum(dim=1), torch.ones(BATCH, dtype=torch.float64))


@pytest.mark.parametrize("patch", range(PATCHES))
def test_attention_received_is_exactly_the_weight_of_a_patch(patch: int) -> None:
    g, tokens = random_interpreter("mean"), random_tokens()
    with torch.no_grad():  # attention does not see channel 0, so that only a value can move
        g.query.weight[:, 0] = g.key.weight[:, 0] = 0
    before, received = g(tokens)
    moved = tokens.clone()
    moved[:, patch, 0] += 3
    after, _ = g(moved)
    expected = received[:, patch, None] * (g.head.weight @ (3 * g.value.weight[:, 0]))
    torch.testing.assert_close(after - before, expected)


def test_gradients_are_those_of_whole_maps() -> None:
    for head in HEADS:
        g, tokens = random_interpreter(head), random_tokens().requires_grad_()
        attention, values = g.attention(tokens), g.value(tokens)
        context = attention @ values
        read = context.mean(dim=1) if g.token_score is None else g.token_score(context)[..., 0]
        inputs = [tokens, *(p for name, p in g.named_parameters() if name != "key.bias")]
        weights = torch.arange(PATCHES, dtype=torch.float64).sin()

        def loss(logits: Tensor, received: Tensor, weights: Tensor = weights) -> Tensor:
            return logits.square().sum() + (received @ weights).sum()

        ours = torch.autograd.grad(loss(*g(tokens)), inputs)
        theirs = torch.autograd.grad(loss(g.head(read), attention.mean(dim=1)), inputs)
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("head", HEADS)
def test_no_map_is_kept_for_the_backward_pass(head: InterpreterHead) -> None:
    patches = 101
    g = Interpreter(CHANNELS, patches, CLASSES, head)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        g(torch.randn(1, patches, CHANNELS, requires_grad=True))
    assert max(kept) <= patches * max(CHANNELS, CLASSES)


@pytest.mark.parametrize("head", HEADS)
def test_a_patch_whose_value_is_zero_contributes_nothing(head: InterpreterHead) -> None:
    g, tokens = random_interpreter(head), random_tokens()
    nn.init.zeros_(g.value.weight)
    nn.init.zeros_(g.value.bias)
    logits, _ = g(tokens)
    assert not g.contributions(tokens).any()
    torch.testing.assert_close(logits, g.bias.expand(BATCH, -1))


def test_mean_head_takes_any_number_of_patches_in_any_order() -> None:
    g = random_interpreter("mean")
    tokens = torch.randn(BATCH, 11, CHANNELS, dtype=torch.float64)
    order = torch.randperm(11)
    logits, received = g(tokens)
    shuffled_logits, shuffled_received = g(tokens[:, order])
    torch.testing.assert_close(shuffled_logits, logits)
    torch.testing.assert_close(shuffled_received, received[:, order])


@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_learns_from_the_logits(head: InterpreterHead) -> None:
    g = random_interpreter(head)
    logits, _ = g(random_tokens())
    logits.square().sum().backward()
    still = [
        name for name, p in g.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12
    ]
    # A constant on every key's score cancels in the softmax.
    assert still == ["key.bias"]


@pytest.mark.parametrize("head", HEADS)
def test_contributions_to_a_class_are_its_column(head: InterpreterHead) -> None:
    g, tokens = random_interpreter(head), random_tokens()
    every = g.contributions(tokens)
    for targets in ([0, 6], [5, 2]):
        expected = torch.stack([every[i, :, target] for i, target in enumerate(targets)])
        torch.testing.assert_close(g.contributions_to(tokens, torch.tensor(targets)), expected)


def test_another_head_is_refused() -> None:
    with pytest.raises(UserError, match="`interpreter_head` is 'Mean'; it must be mean or pos"):
        Interpreter(5, 7, 3, "Mean")  # type: ignore[arg-type]
