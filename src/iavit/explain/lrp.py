"""Rules that hand relevance back, in the place of gradients, through a transformer as it is.

`Relevance` is a mode of torch: while it is on, each function that a module calls computes what
it always does, and remembers its rule instead of its gradient. What `torch.autograd.grad` then
carries back is relevance, and where a tensor was used twice the shares add up, as they should.

Rules of Chefer, Gur, Wolf, CVPR 2021, section 3.1, biases taking no part:
- `linear`: in proportion to the positive part of `x_j w_ji` (their equation 4); where
  no term is positive, as happens in very narrow layers, that share is lost;
- products of two tensors: in proportion to each term, half to either factor (7);
- sums: in proportion to each summand, then each scaled so that no branch gets more, in absolute
  value, than its share, and both together get what came in (9, 10), for each image;
- what works on one number at a time, softmax, norms: unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, resolve_name

from iavit.errors import UserError

Rule = Callable[..., Any]


class Relevance(TorchFunctionMode):
    """While it is on, tensors that require a gradient are given relevance instead.

    maps: every map of an attention layer that ran meanwhile, (B, heads, T, T), in turn.

    Raises `UserError` for a function of such tensors that there is no rule for.
    """

    def __init__(self) -> None:
        self.maps: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Parameters are numbers like others here: they are given no relevance."""
        given = [_constant(value) for value in args]
        named = {key: _constant(value) for key, value in (kwargs or {}).items()}
        if not torch.is_grad_enabled() or not any(map(_active, [*given, *named.values()])):
            return func(*given, **named)
        if func is F.scaled_dot_product_attention:
            return self._attend(*given, **named)
        if func in MOVES or func.__name__ == "__get__":
            return func(*given, **named)
        if func not in RULES:
            raise UserError(
                f"relevance has no rule for {resolve_name(func) or func}, which this model uses; "
                "choose another explainer, such as generic_attention"
            )
        return RULES[func](func, *given, **named)

    def _attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        scale: float | None = None,
    ) -> Tensor:
        """Attention step by step, so that its map has a relevance of its own."""
        scale = queries.shape[-1] ** -0.5 if scale is None else scale
        scores = _product(torch.matmul, queries, keys.transpose(-2, -1))
        with torch.no_grad():
            shifted = scores * scale if attn_mask is None else scores * scale + attn_mask
            attention = shifted.softmax(dim=-1)
        attention = _Unchanged.apply(scores, attention)  # type: ignore[no-untyped-call]
        self.maps.append(attention)
        return _product(torch.matmul, attention, values)


def _constant(value: Any) -> Any:
    """Parameters, also those in a list, without their gradient; all else as it is."""
    if isinstance(value, list | tuple) and any(isinstance(one, nn.Parameter) for one in value):
        return type(value)(map(_constant, value))
    return value.detach() if isinstance(value, nn.Parameter) else value


def _active(value: Any) -> bool:
    """Whether relevance can be handed to it."""
    if isinstance(value, list | tuple):
        return any(map(_active, value))
    return isinstance(value, Tensor) and value.requires_grad


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """`part / whole`, and 0 where the whole is: nothing can be handed on in proportion."""
    vanishes = whole.abs() < 1e-9
    return torch.where(vanishes, 0.0, part / whole.masked_fill(vanishes, 1.0))


class _Unchanged(torch.autograd.Function):
    """`x` and what became of it, number by number: the relevance of one is that of the other."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, became: Tensor) -> Tensor:
        ctx.shape = x.shape
        return became.view_as(became)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None]:
        return relevance.sum_to_size(ctx.shape), None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, became: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return became.view_as(became)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None, None]:
        x, weight = ctx.saved_tensors
        x_up, x_down = x.clamp(min=0), x.clamp(max=0)
        up, down = weight.clamp(min=0), weight.clamp(max=0)
        positive = F.linear(x_up, up) + F.linear(x_down, down)  # of every x_j w_ji, over j
        share = _ratio(relevance, positive)
        return x_up * (share @ up) + x_down * (share @ down), None, None


class _Matmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        product = a @ b
        ctx.save_for_backward(a, b, product)
        return product

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, Tensor]:
        a, b, product = ctx.saved_tensors
        share = _ratio(relevance, product) / sum(ctx.needs_input_grad)
        return a * (share @ b.transpose(-2, -1)), b * (a.transpose(-2, -1) @ share)


class _Scaled(torch.autograd.Function):
    """A product number by number."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.shapes = a.shape, b.shape
        return a * b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, Tensor]:
        half_a, half_b = (relevance.sum_to_size(shape) / 2 for shape in ctx.shapes)
        return half_a, half_b


class _Sum(torch.autograd.Function):
    """Two summands of one shape, of images along the first axis."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        total = a + b
        ctx.save_for_backward(a, b, total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, Tensor]:
        a, b, total = ctx.saved_tensors
        share = _ratio(relevance, total)
        share_a, share_b = a * share, b * share
        axes = tuple(range(1, share.ndim))
        sum_a, sum_b = share_a.sum(axes, keepdim=True), share_b.sum(axes, keepdim=True)
        whole = relevance.sum(axes, keepdim=True) / (sum_a.abs() + sum_b.abs()).clamp(min=1e-30)
        return share_a * sum_a.sign() * whole, share_b * sum_b.sign() * whole


class _Pooled(torch.autograd.Function):
    """A sum or mean over axes, in proportion to what was summed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, became: Tensor, axes: Any) -> Tensor:
        ctx.save_for_backward(x)
        ctx.axes, ctx.kept = axes, became.ndim == x.ndim
        return became.view_as(became)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, relevance: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        relevance = relevance if ctx.kept else relevance.unsqueeze(ctx.axes)
        return x * _ratio(relevance, x.sum(ctx.axes, keepdim=True)), None, None


def _unchanged(func: Rule, x: Tensor, *args: Any, **named: Any) -> Tensor:
    return _Unchanged.apply(x, func(x.detach(), *args, **named))  # type: ignore[no-untyped-call]


def _linear(func: Rule, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return _Linear.apply(x, weight, func(x.detach(), weight, bias))  # type: ignore[no-untyped-call]


def _sum(func: Rule, a: Any, b: Any) -> Tensor:
    if _active(a) and _active(b):
        return _Sum.apply(a, b)  # type: ignore[no-untyped-call]
    return _other_constant(func, a, b)


def _product(func: Rule, a: Any, b: Any) -> Tensor:
    """Of matrices; each factor has half, or all beside a constant."""
    return _Matmul.apply(a, b)  # type: ignore[no-untyped-call]


def _scaled(func: Rule, a: Any, b: Any) -> Tensor:
    """Number by number: each factor has half, or all beside a constant."""
    if _active(a) and _active(b):
        return _Scaled.apply(a, b)  # type: ignore[no-untyped-call]
    return _other_constant(func, a, b)


def _other_constant(func: Rule, a: Any, b: Any) -> Tensor:
    """All to the operand that is no constant."""
    became = func(_detached(a), _detached(b))
    return _Unchanged.apply(a if _active(a) else b, became)  # type: ignore[no-untyped-call]


def _pooled(func: Rule, x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    became = func(x.detach(), dim=dim, keepdim=keepdim)
    return _Pooled.apply(x, became, dim)  # type: ignore[no-untyped-call]


# Functions that only move numbers, or read facts of a tensor: their gradient moves relevance.
MOVES: frozenset[Rule] = frozenset(
    {
        torch.cat,
        torch.split,
        torch.stack,
        F.dropout,  # explanations run in evaluation mode
        Tensor.__getitem__,
        Tensor.amax,
        Tensor.chunk,
        Tensor.flatten,
        Tensor.permute,
        Tensor.repeat_interleave,
        Tensor.requires_grad_,
        Tensor.reshape,
        Tensor.split,
        Tensor.squeeze,
        Tensor.tensor_split,
        Tensor.to,
        Tensor.transpose,
        Tensor.type_as,
        Tensor.unbind,
        Tensor.unflatten,
    }
)

RULES: dict[Rule, Rule] = {
    F.linear: _linear,
    torch.matmul: _product,
    Tensor.matmul: _product,
    Tensor.add: _sum,
    Tensor.mul: _scaled,
    Tensor.div: _other_constant,
    Tensor.mean: _pooled,
    Tensor.sum: _pooled,
    F.gelu: _unchanged,
    F.layer_norm: _unchanged,
    F.relu: _unchanged,
    F.rms_norm: _unchanged,
    F.silu: _unchanged,
    F.softmax: _unchanged,
    Tensor.neg: _unchanged,
    Tensor.sigmoid: _unchanged,
    Tensor.softmax: _unchanged,
    torch.sigmoid: _unchanged,
}
