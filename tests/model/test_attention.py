"""Attention received by each patch, beside the fused kernel."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from iavit.model import attention
from iavit.model.attention import attention_received
from tests.reference.attention import attention_received as twin
from tests.reference.attention import eager_attention_received as eager

# (B, heads, T, d, prefix): primes, then a single head, a single patch, and no class token.
SIZES = [(2, 3, 7, 5, 1), (3, 1, 11, 2, 5), (2, 5, 3, 7, 2), (1, 2, 13, 3, 0)]
# One query a block, blocks that do not divide the queries, everything at once.
BLOCKS = [1, 97, 2**21]


def draw(
    size: tuple[int, int, int, int, int], dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Queries and keys of unit variance times 2, so that the softmax is far from uniform."""
    generator = torch.Generator().manual_seed(sum(size))
    queries, keys = torch.randn(2, *size[:4], generator=generator, dtype=torch.float64) * 2
    return queries.to(dtype), keys.to(dtype)


@pytest.fixture(params=BLOCKS)
def block_elements(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    elements: int = request.param
    monkeypatch.setattr(attention, "CACHE_ELEMENTS", elements)
    return elements


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gradient", [False, True])
def test_equals_the_twin(
    size: tuple[int, int, int, int, int], gradient: bool, block_elements: int
) -> None:
    queries, keys = draw(size)
    received = attention_received(queries, keys, prefix=size[4], scale=0.7, gradient=gradient)
    expected = twin(queries, keys, size[4], 0.7)
    torch.testing.assert_close(received, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_single_precision_is_within_a_millionth(
    size: tuple[int, int, int, int, int], block_elements: int
) -> None:
    queries, keys = draw(size)
    received = attention_received(queries.float(), keys.float(), prefix=size[4], scale=0.7)
    expected = twin(queries, keys, size[4], 0.7)
    torch.testing.assert_close(received.double(), expected, rtol=0, atol=1e-6)


def test_two_tokens_by_hand() -> None:
    # Rows: scores (0, 0) give (1/2, 1/2); scores (ln 3, 0) give (3/4, 1/4).
    queries = torch.tensor([0.0, math.log(3)], dtype=torch.float64).view(1, 1, 2, 1)
    keys = torch.tensor([1.0, 0.0], dtype=torch.float64).view(1, 1, 2, 1)
    both = attention_received(queries, keys, prefix=0, scale=1.0)
    torch.testing.assert_close(both, torch.tensor([[5 / 8, 3 / 8]], dtype=torch.float64))
    one = attention_received(queries, keys, prefix=1, scale=1.0)
    torch.testing.assert_close(one, torch.tensor([[1 / 4]], dtype=torch.float64))


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_blind_queries_give_every_patch_an_equal_share(prefix: int) -> None:
    _, keys = draw((2, 3, 7, 5, prefix))
    received = attention_received(torch.zeros_like(keys), keys, prefix=prefix, scale=1.0)
    torch.testing.assert_close(received, torch.full_like(received, 1 / 7))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    queries, keys = draw((2, 3, 7, 5, 0), dtype)
    received = attention_received(queries, keys, prefix=0, scale=0.7)
    assert received.dtype is torch.float32
    # Rounded scores shift weight between patches, but every row still sums to 1 in float32.
    torch.testing.assert_close(received.sum(dim=1), torch.ones(2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_gradient_passes_gradcheck(
    size: tuple[int, int, int, int, int], block_elements: int
) -> None:
    queries, keys = (tensor.requires_grad_() for tensor in draw(size))

    def received(queries: Tensor, keys: Tensor) -> Tensor:
        return attention_received(queries, keys, prefix=size[4], scale=0.7, gradient=True)

    assert torch.autograd.gradcheck(received, (queries, keys))


@pytest.mark.parametrize("size", SIZES)
def test_gradient_equals_the_eager_one(
    size: tuple[int, int, int, int, int], block_elements: int
) -> None:
    queries, keys = (tensor.requires_grad_() for tensor in draw(size))
    received = attention_received(queries, keys, prefix=size[4], scale=0.7, gradient=True)
    expected = eager(queries, keys, size[4], 0.7)
    weights = torch.arange(received.numel(), dtype=torch.float64).sin().view_as(received)
    ours = torch.autograd.grad(received, (queries, keys), weights)
    theirs = torch.autograd.grad(expected, (queries, keys), weights)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def draw_bias(size: tuple[int, int, int, int, int], *, shared: bool) -> Tensor:
    """(1 or B, heads, T, T), of unit variance."""
    generator = torch.Generator().manual_seed(3)
    shape = (1 if shared else size[0], size[1], size[2], size[2])
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gradient", [False, True])
def test_bias_is_added_to_the_scores(
    size: tuple[int, int, int, int, int], gradient: bool, shared: bool, block_elements: int
) -> None:
    queries, keys = draw(size)
    bias = draw_bias(size, shared=shared)
    received = attention_received(
        queries, keys, prefix=size[4], scale=0.7, bias=bias, gradient=gradient
    )
    expected = twin(queries, keys, size[4], 0.7, bias)
    torch.testing.assert_close(received, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_gradient_with_a_bias_equals_the_eager_one(
    size: tuple[int, int, int, int, int], shared: bool, block_elements: int
) -> None:
    inputs = tuple(t.requires_grad_() for t in (*draw(size), draw_bias(size, shared=shared)))
    queries, keys, bias = inputs
    received = attention_received(
        queries, keys, prefix=size[4], scale=0.7, bias=bias, gradient=True
    )
    expected = eager(queries, keys, size[4], 0.7, bias)
    weights = torch.arange(received.numel(), dtype=torch.float64).sin().view_as(received)
    ours = torch.autograd.grad(received, inputs, weights)
    theirs = torch.autograd.grad(expected, inputs, weights)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, 7, 7), (2, 3, 1, 7), (1, 3, 1, 7), (2, 1, 7, 7)])
def test_a_bias_may_be_what_broadcasts(shape: tuple[int, ...], block_elements: int) -> None:
    generator = torch.Generator().manual_seed(3)
    bias = torch.randn(shape, generator=generator, dtype=torch.float64)
    inputs = tuple(tensor.requires_grad_() for tensor in (*draw(SIZES[0]), bias))
    queries, keys, bias = inputs
    received = attention_received(queries, keys, prefix=1, scale=0.7, bias=bias, gradient=True)
    expected = eager(queries, keys, 1, 0.7, bias)
    torch.testing.assert_close(received, expected, rtol=0, atol=1e-12)
    weights = torch.arange(received.numel(), dtype=torch.float64).sin().view_as(received)
    ours = torch.autograd.grad(received, inputs, weights)
    theirs = torch.autograd.grad(expected, inputs, weights)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


# Of each image, the tokens that are real: prefix tokens, and patches not only at the front.
REAL = {
    SIZES[0]: [[0, 1, 2, 4, 6], [0, 3, 4]],
    SIZES[1]: [[*range(5), 6, 7, 9], [*range(11)], [*range(5), 10]],
    SIZES[2]: [[0, 1, 2], [0, 2]],
    SIZES[3]: [[0, 1, 2, 3, 5, 8, 12]],
}


def padding_of(size: tuple[int, int, int, int, int]) -> Tensor:
    """(B, T) bool, True where a token is none of `REAL`."""
    padding = torch.ones(size[0], size[2], dtype=torch.bool)
    for image, real in enumerate(REAL[size]):
        padding[image, real] = False
    return padding


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gradient", [False, True])
def test_padded_images_are_those_without_padding(
    size: tuple[int, int, int, int, int], gradient: bool, with_bias: bool, block_elements: int
) -> None:
    queries, keys = draw(size)
    bias = draw_bias(size, shared=True) if with_bias else None
    received = attention_received(
        queries,
        keys,
        prefix=size[4],
        scale=0.7,
        bias=bias,
        padding=padding_of(size),
        gradient=gradient,
    )
    expected = twin(queries, keys, size[4], 0.7, bias, REAL[size])
    torch.testing.assert_close(received, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_gradient_with_padding_passes_gradcheck(
    size: tuple[int, int, int, int, int], block_elements: int
) -> None:
    bias = draw_bias(size, shared=True)
    inputs = tuple(tensor.requires_grad_() for tensor in (*draw(size), bias))

    def received(queries: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        return attention_received(
            queries,
            keys,
            prefix=size[4],
            scale=0.7,
            bias=bias,
            padding=padding_of(size),
            gradient=True,
        )

    assert torch.autograd.gradcheck(received, inputs, fast_mode=True)
    gradients = torch.autograd.grad(received(*inputs).square().sum(), inputs[:2])
    for gradient in gradients:  # nothing of a padded token matters
        assert not gradient.transpose(1, 2)[padding_of(size)].any()


@pytest.mark.parametrize("elements", [1, 21, 50, 147, 293, 294])
def test_no_block_is_larger_than_it_may_be(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "CACHE_ELEMENTS", elements)
    sizes: list[int] = []
    softmax = attention.softmax_rows

    def counting(*inputs: Any) -> Tensor:
        maps = softmax(*inputs)
        sizes.append(maps.numel())
        return maps

    monkeypatch.setattr(attention, "softmax_rows", counting)
    attention_received(*draw((2, 3, 7, 5, 0)), prefix=0, scale=0.7)
    assert sum(sizes) == 2 * 3 * 7 * 7
    assert max(sizes) <= max(elements, 3 * 7)  # a row of one image at least
    assert (len(sizes) == 1) is (elements == 294)  # in one block where all of it fits


@pytest.mark.parametrize("gradient", [False, True])
def test_autocast_rounds_scores_and_nothing_after_them(gradient: bool) -> None:
    queries, keys = draw((2, 3, 7, 5, 0), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        received = attention_received(queries, keys, prefix=0, scale=0.5, gradient=gradient)
    halves = (tensor.bfloat16() for tensor in (queries, keys))
    assert received.dtype is torch.float32
    torch.testing.assert_close(received, attention_received(*halves, prefix=0, scale=0.5))
    torch.testing.assert_close(received.sum(dim=1), torch.ones(2), rtol=0, atol=1e-6)


def test_gradient_of_half_precision_keeps_its_type() -> None:
    queries, keys = (tensor.requires_grad_() for tensor in draw(SIZES[0], torch.bfloat16))
    received = attention_received(queries, keys, prefix=1, scale=0.7, gradient=True)
    gradients = torch.autograd.grad(received.square().sum(), (queries, keys))
    assert [gradient.dtype for gradient in gradients] == [torch.bfloat16] * 2


def test_backward_keeps_queries_and_keys_and_nothing_else() -> None:
    queries, keys = (tensor.requires_grad_() for tensor in draw(SIZES[0]))
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        attention_received(queries, keys, prefix=1, scale=0.7, gradient=True)
    assert sorted(kept) == sorted([queries.data_ptr(), keys.data_ptr()])


def test_no_gradient_unless_asked_for() -> None:
    queries, keys = (tensor.requires_grad_() for tensor in draw(SIZES[0]))
    assert not attention_received(queries, keys, prefix=1, scale=0.7).requires_grad
    assert attention_received(queries, keys, prefix=1, scale=0.7, gradient=True).requires_grad


def test_no_gradient_where_autograd_is_off() -> None:
    queries, keys = (tensor.requires_grad_() for tensor in draw(SIZES[0]))
    with torch.no_grad():
        received = attention_received(queries, keys, prefix=1, scale=0.7, gradient=True)
    assert not received.requires_grad


def test_the_operator_keeps_torchs_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "CACHE_ELEMENTS", 97)
    size = SIZES[0]
    queries, keys, bias = (*draw(size), draw_bias(size, shared=True))
    queries, keys = (part.transpose(1, 2).contiguous().transpose(1, 2) for part in (queries, keys))
    given = (queries.requires_grad_(), keys.requires_grad_(), bias.requires_grad_())
    torch.library.opcheck(
        torch.ops.iavit.attention_received.default, (*given, padding_of(size), 1, 0.7)
    )


def test_a_compiler_keeps_no_map_for_the_backward_pass() -> None:
    queries, keys = (tensor.requires_grad_() for tensor in draw((2, 3, 31, 5, 1)))
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    def received(queries: Tensor, keys: Tensor) -> Tensor:
        return attention_received(2 * queries, 3 * keys, prefix=1, scale=0.7, gradient=True)

    compiled = torch.compile(received, backend="aot_eager", fullgraph=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ours = torch.autograd.grad(compiled(queries, keys).square().sum(), (queries, keys))
    theirs = torch.autograd.grad(received(queries, keys).square().sum(), (queries, keys))
    torch.testing.assert_close(ours, theirs)
    assert kept
    assert max(kept) <= queries.numel()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_on_cuda_it_is_the_same(half: torch.dtype) -> None:
    inputs = queries, keys = draw((2, 3, 31, 5, 1))
    moved = queries.cuda(), keys.cuda()
    for tensor in (*inputs, *moved):
        tensor.requires_grad_()
    ours = attention_received(*moved, prefix=1, scale=0.7, gradient=True)
    theirs = attention_received(*inputs, prefix=1, scale=0.7, gradient=True)
    torch.testing.assert_close(ours.cpu(), theirs, rtol=0, atol=1e-12)
    on_ours = torch.autograd.grad(ours.square().sum(), moved)
    on_theirs = torch.autograd.grad(theirs.square().sum(), inputs)
    for gradient, expected in zip(on_ours, on_theirs, strict=True):
        torch.testing.assert_close(gradient.cpu(), expected, rtol=0, atol=1e-12)
    with torch.autocast("cuda", half):
        received = attention_received(*moved, prefix=0, scale=0.7, gradient=True)
    assert received.dtype is torch.float32
    torch.testing.assert_close(received.sum(dim=1).cpu(), torch.ones(2), rtol=0, atol=1e-6)
    torch.testing.assert_close(
        received.double().cpu(), twin(queries, keys, 0, 0.7), rtol=0, atol=5e-3
    )


def test_whole_images_share_a_block_while_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 7 images with 2 heads, 4 patches and a class token, 3 are 3 x 2 x 5 x 4 scores."""
    queries = torch.zeros(7, 2, 5, 3)
    patches = slice(1, 5)
    monkeypatch.setattr(attention, "CACHE_ELEMENTS", 120)
    assert attention._blocks(queries, 1) == [
        (slice(0, 3), patches), (slice(3, 6), patches), (slice(6, 9), patches)
    ]  # fmt: skip
    monkeypatch.setattr(attention, "CACHE_ELEMENTS", 39)  # 3 rows of one image
    assert attention._blocks(queries[:2], 1) == [
        (slice(at, at + 1), rows) for at in (0, 1) for rows in (slice(1, 4), slice(4, 5))
    ]


def test_the_gradient_does_not_depend_on_what_the_memory_held() -> None:
    """torch fills what it sets aside with NaN where it is asked to be deterministic."""
    size = SIZES[0]
    queries, keys = (tensor.requires_grad_() for tensor in draw(size))
    bias = draw_bias(size, shared=True).requires_grad_()

    def gradients() -> tuple[Tensor, ...]:
        received = attention_received(
            queries, keys, bias=bias, prefix=size[4], scale=0.7, gradient=True
        )
        return torch.autograd.grad(received.square().sum(), (queries, keys, bias))

    expected = gradients()
    torch.use_deterministic_algorithms(True)
    try:
        torch.testing.assert_close(gradients(), expected)
    finally:
        torch.use_deterministic_algorithms(False)
