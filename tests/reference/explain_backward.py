"""Slow, obvious twins of the explainers that go backward through a plain, pre-norm ViT.

One image at a time, in float64: the forward pass is spelt out with every map held, gradients
come from autograd on it, relevance from its rules written down layer by layer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class Layer:
    """What one block computed: tokens (T, D), maps (heads, T, T), values (heads, T, d)."""

    entered: Tensor
    queries: Tensor
    keys: Tensor
    values: Tensor
    scores: Tensor
    attention: Tensor
    normed: Tensor
    context: Tensor
    attended: Tensor
    between: Tensor
    normed_again: Tensor
    hidden: Tensor
    changed: Tensor


@dataclass
class Pass:
    logits: Tensor  # (C,)
    final: Tensor  # (T, D)
    layers: list[Layer] = field(default_factory=list)


def forward(vit: Any, image: Tensor) -> Pass:
    """A transformer with a class token, block by block."""
    heads = vit.blocks[0].attn.num_heads
    tokens = vit._pos_embed(vit.patch_embed(image[None]))[0].detach().requires_grad_()
    layers = []
    for block in vit.blocks:
        normed = block.norm1(tokens)
        qkv = F.linear(normed, block.attn.qkv.weight, block.attn.qkv.bias)  # (T, 3D)
        queries, keys, values = (
            torch.stack(part.chunk(heads, dim=1)) for part in qkv.chunk(3, dim=1)
        )
        scores = torch.stack([q @ k.T for q, k in zip(queries, keys, strict=True)])
        attention = torch.softmax(scores / queries.shape[-1] ** 0.5, dim=-1)
        context = torch.cat([a @ v for a, v in zip(attention, values, strict=True)], dim=1)
        attended = block.attn.proj(context)
        between = tokens + attended
        again = block.norm2(between)
        hidden = F.gelu(block.mlp.fc1(again))
        changed = block.mlp.fc2(hidden)
        layers.append(
            Layer(
                *(tokens, queries, keys, values, scores, attention, normed),
                *(context, attended, between, again, hidden, changed),
            )
        )
        tokens = between + changed
    final = vit.norm(tokens)
    return Pass(vit.head(final[0]), final, layers)


def gradients(run: Pass, target: int, of: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(run.logits[target], of))


def attgrads(vit: Any, image: Tensor, target: int) -> Tensor:
    """(T,): attention times gradient, summed over queries, mean over layers and heads."""
    run = forward(vit, image)
    maps = [layer.attention for layer in run.layers]
    total = torch.zeros(len(run.final), dtype=torch.float64)
    for attention, gradient in zip(maps, gradients(run, target, maps), strict=True):
        for head in range(len(attention)):
            for query in range(len(total)):
                total += attention[head, query] * gradient[head, query]
    return (total / (len(maps) * len(maps[0]))).detach()


def attcam(vit: Any, image: Tensor, target: int) -> Tensor:
    run = forward(vit, image)
    entered = [layer.entered for layer in run.layers]
    total = torch.zeros(len(run.final), dtype=torch.float64)
    for layer, gradient in zip(run.layers, gradients(run, target, entered), strict=True):
        for token in range(len(total)):
            received = layer.attention[:, :, token].mean()
            total[token] += (received * (layer.entered[token] @ gradient[token])).detach()
    return total


def generic_attention(vit: Any, image: Tensor, target: int) -> Tensor:
    run = forward(vit, image)
    maps = [layer.attention for layer in run.layers]
    relevance = torch.eye(len(run.final), dtype=torch.float64)
    for attention, gradient in zip(maps, gradients(run, target, maps), strict=True):
        relevance = relevance + (attention * gradient).clamp(min=0).mean(dim=0) @ relevance
    return relevance[0].detach()


def grad_cam(vit: Any, image: Tensor, target: int, prefix: int) -> Tensor:
    """(N,): over the patch tokens that enter the last block."""
    run = forward(vit, image)
    tokens = run.layers[-1].entered
    (gradient,) = gradients(run, target, [tokens])
    channels = tokens.shape[1]
    weights = [gradient[prefix:, d].mean() for d in range(channels)]
    total = sum((weights[d] * tokens[prefix:, d] for d in range(channels)), torch.zeros(()))
    return total.clamp(min=0).detach()


# Relevance


def through_linear(relevance: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """(T, out) to (T, in), in proportion to the positive part of `x_j w_ji`."""
    terms = (x[:, None, :] * weight).clamp(min=0)  # (T, out, in)
    return (relevance[:, :, None] * terms / terms.sum(dim=-1, keepdim=True)).sum(dim=1)


def through_product(relevance: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(n, m) of `a b`, (n, k) times (k, m), half to either."""
    terms = a[:, :, None] * b[None]  # (n, k, m)
    shares = relevance[:, None, :] * terms / terms.sum(dim=1, keepdim=True) / 2
    return shares.sum(dim=2), shares.sum(dim=0)


def through_sum(relevance: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    of_a, of_b = relevance * a / (a + b), relevance * b / (a + b)
    size_a, size_b = of_a.sum().abs(), of_b.sum().abs()
    total = relevance.sum()
    return (
        of_a / of_a.sum() * total * size_a / (size_a + size_b),
        of_b / of_b.sum() * total * size_b / (size_a + size_b),
    )


def relevance_of_maps(vit: Any, image: Tensor, target: int) -> list[Tensor]:
    """Every layer's (heads, T, T), from relevance 1 of the target's logit."""
    with torch.no_grad():
        run = forward(vit, image)
        heads = vit.blocks[0].attn.num_heads
        tokens = torch.zeros_like(run.final)
        start = torch.zeros(1, len(run.logits), dtype=torch.float64)
        start[0, target] = 1
        tokens[0] = through_linear(start, run.final[:1], vit.head.weight)[0]
        found = []
        for block, layer in zip(reversed(vit.blocks), reversed(run.layers), strict=True):
            skipped, changed = through_sum(tokens, layer.between, layer.changed)
            hidden = through_linear(changed, layer.hidden, block.mlp.fc2.weight)
            between = skipped + through_linear(hidden, layer.normed_again, block.mlp.fc1.weight)
            skipped, attended = through_sum(between, layer.entered, layer.attended)
            context = through_linear(attended, layer.context, block.attn.proj.weight)
            of_maps, of_q, of_k, of_v = [], [], [], []
            for head, part in enumerate(context.chunk(heads, dim=1)):
                of_map, values = through_product(part, layer.attention[head], layer.values[head])
                queries, keys = through_product(of_map, layer.queries[head], layer.keys[head].T)
                of_maps.append(of_map)
                of_q.append(queries)
                of_k.append(keys.T)
                of_v.append(values)
            found.append(torch.stack(of_maps))
            qkv = torch.cat([*of_q, *of_k, *of_v], dim=1)
            tokens = skipped + through_linear(qkv, layer.normed, block.attn.qkv.weight)
    return found[::-1]


def transformer_attribution(vit: Any, image: Tensor, target: int, first: int = 0) -> Tensor:
    run = forward(vit, image)
    on_maps = gradients(run, target, [layer.attention for layer in run.layers])
    product = torch.eye(len(run.final), dtype=torch.float64)
    every = zip(relevance_of_maps(vit, image, target), on_maps, strict=True)
    for relevance, gradient in list(every)[first:]:
        weights = (relevance * gradient).clamp(min=0).mean(dim=0)
        product = (torch.eye(len(run.final), dtype=torch.float64) + weights) @ product
    return product[0].detach()


def partial_lrp(vit: Any, image: Tensor, target: int) -> Tensor:
    """The class token's row in the last layer."""
    return relevance_of_maps(vit, image, target)[-1].clamp(min=0).mean(dim=0)[0]
