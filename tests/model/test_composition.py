"""What people put around a model: compilation, checkpointing, DDP, autocast, export."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models import vision_transformer
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from iavit.config import RECIPES
from iavit.model.extractor import ExtractorAttention
from iavit.model.iavit import IAViT
from iavit.objective.inputs import Inputs
from iavit.objective.step import weighted_sum
from iavit.types import Output

CLASSES, SIZE, BATCH = 5, 12, 4  # 12 pixels are 3 x 3 patches
gradients = pytest.mark.parametrize("gradient", [False, True], ids=["detached", "joint"])


def create() -> IAViT:
    """Weights large enough for attention far from uniform."""
    model = IAViT.create("vit_digits", CLASSES, SIZE)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return model.eval()  # batch norm as it is, so that a batch is its parts


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(BATCH, 3, SIZE, SIZE, generator=generator), torch.arange(BATCH)


def loss(output: Output, labels: Tensor) -> Tensor:
    """The objective, with an alignment that is a mean over images, as DDP asks of a loss."""
    config = replace(RECIPES["paper"], alignment="kl")
    return weighted_sum(Inputs(output, labels), config)["loss"]


def attention(*, gradient: bool) -> ExtractorAttention:
    return "gradient" if gradient else "constant"


def learned(model: nn.Module, forward: Callable[..., Any], *, gradient: bool) -> list[Tensor]:
    """Every parameter's gradient after one step through `forward`."""
    images, labels = batch()
    loss(forward(images, attention=attention(gradient=gradient)), labels).backward()
    return [torch.zeros(()) if p.grad is None else p.grad for p in model.parameters()]


@gradients
def test_compiled_it_is_the_same(gradient: bool) -> None:
    # The eager backend runs what the compiler saw; machine code needs a compiler of C++.
    model, compiled = create(), create()
    forward = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    images, _ = batch()
    torch.testing.assert_close(vars(forward(images)), vars(model(images)))
    ours, theirs = (
        learned(compiled, forward, gradient=gradient),
        learned(model, model, gradient=gradient),
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@gradients
def test_with_gradient_checkpointing_it_is_the_same(gradient: bool) -> None:
    model, checkpointed = create(), create()
    checkpointed.extractor.backbone.set_grad_checkpointing(True)
    ours = learned(checkpointed, checkpointed, gradient=gradient)
    theirs = learned(model, model, gradient=gradient)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@gradients
def test_under_autocast_losses_and_attentions_are_in_single_precision(gradient: bool) -> None:
    model = create().train()
    images, labels = batch()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images, attention=attention(gradient=gradient))
        total = loss(output, labels)
    total.backward()
    assert output.logits.dtype is torch.bfloat16
    assert total.dtype is torch.float32
    expected = create()(images)
    for name in ("extractor_attention", "interpreter_attention"):
        received = getattr(output, name)
        assert received.dtype is torch.float32
        torch.testing.assert_close(received.sum(dim=1), torch.ones(BATCH), rtol=0, atol=1e-6)
        assert received.shape == getattr(expected, name).shape
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_exported_it_is_the_same_for_any_number_of_images() -> None:
    model = create().requires_grad_(False)
    images, _ = batch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own
        exported = torch.export.export(
            Whole(model), (images,), dynamic_shapes={"images": {0: torch.export.Dim("images")}}
        )
    more = torch.cat([images, images.flip(0), images.flip(1)[:1]])
    for pictures in (images, more, images[:2]):
        torch.testing.assert_close(exported.module()(pictures), Whole(model)(pictures))


class Whole(nn.Module):
    """Everything the model says as a tuple, which is what a graph returns."""

    def __init__(self, model: IAViT) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(vars(self.model(images)).values())


def half_a_batch(rank: int, folder: Path) -> IAViT:
    """One of two processes, with every other image: the model after its backward pass."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    model = create()
    wrapped = DistributedDataParallel(model)
    images, labels = (part[rank::2] for part in batch())
    loss(wrapped(images, attention="gradient"), labels).backward()
    # The wrapper first: the last to hold the group takes it down, and a wrapper does so with the
    # interpreter's lock in hand, for which the group's own thread may be waiting: neither ends.
    del wrapped
    torch.distributed.destroy_process_group()
    torch.set_num_threads(threads)
    return model


def _other_half(_number: int, folder: Path) -> None:
    half_a_batch(1, folder)


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    other = spawn(_other_half, (tmp_path,), nprocs=1, join=False)
    found = dict(half_a_batch(0, tmp_path).named_parameters())
    while not other.join():
        pass
    alone = create()
    learned(alone, alone, gradient=True)
    for name, parameter in alone.named_parameters():
        torch.testing.assert_close(found[name].grad, parameter.grad, rtol=1e-4, atol=1e-6)


@gradients
def test_timms_module_stays_as_it_was_found(gradient: bool) -> None:
    model = create()
    watched: tuple[Any, ...] = (
        vision_transformer.VisionTransformer,
        vision_transformer.Block,
        vision_transformer.Attention,
        vision_transformer,
        nn.Module,
        torch.nn.functional,
    )
    before = [dict(vars(part)) for part in watched]
    own = {name: dict(vars(part)) for name, part in model.extractor.backbone.named_modules()}
    learned(model, model, gradient=gradient)
    assert [dict(vars(part)) for part in watched] == before
    for name, part in model.extractor.backbone.named_modules():
        assert vars(part) == own[name], name
