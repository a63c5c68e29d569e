"""Training steps and forward passes for `gpu.py`: how fast, and how much memory, each alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from results import ratios_in_turn
from torch import Tensor
from torch.nn import functional as F
from train_step import CLASSES, timed_step

from iavit.config import RECIPES
from iavit.model.backbones import create_backbone
from iavit.model.iavit import IAViT
from iavit.objective.inputs import Inputs
from iavit.objective.step import objective_terms, weighted_sum
from iavit.training.attach import attach

WARM_UP = 3  # steps that are not counted


def steps_alone(
    backbone: str, size: int, batch: int, rounds: int, device: torch.device
) -> dict[str, dict[str, float | None]]:
    """Milliseconds and MiB of a step of each recipe in bf16, all terms begun.

    `plain` is timm's own model; `interpreter` is the second stage of the default recipe, and what
    `iavit attach` does: a branch that learns beside a predictor that stays as it is. MiB are the
    most that torch's allocator held: weights, gradients, optimiser and activations.
    """
    images = torch.randn(batch, 3, size, size, device=device)
    labels = torch.randint(CLASSES, (batch,), device=device)
    found: dict[str, dict[str, float | None]] = {}
    for name in ("plain", "paper", "interpreter"):
        torch.manual_seed(0)
        width = None if name == "interpreter" else 0
        model = IAViT.create(backbone, CLASSES, size, branch_width=width).to(device).train()
        if name == "interpreter":
            model.extractor.requires_grad_(False).eval()
        loss = partial(_loss, model, name, images, labels, device)
        found[name] = _alone(model, loss, rounds, device)
        del model, loss
    return found


def _loss(model: IAViT, name: str, images: Tensor, labels: Tensor, device: torch.device) -> Tensor:
    with torch.autocast(device.type, torch.bfloat16):
        if name == "plain":
            return F.cross_entropy(model.extractor.backbone(images), labels)
        if name == "paper":
            return objective_terms(model, images, labels, RECIPES["paper"])["loss"]
        return objective_terms(model, images, None, RECIPES["faithful"])["loss"]


def _alone(
    model: IAViT, loss: Callable[[], Tensor], rounds: int, device: torch.device
) -> dict[str, float | None]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    taken = [timed_step(loss, optimizer, device) for _ in range(WARM_UP + rounds)][WARM_UP:]
    return {"milliseconds": round(1e3 * statistics.median(taken), 3), "mib": _peak(device)}


def attached(
    backbone: str, size: int, images: int, batch: int, steps: int, device: torch.device
) -> dict[str, Any]:
    """`iavit.attach` as a person calls it, in float32: all of its steps, loading included.

    `moved`: the largest difference of the predictor's weights and buffers afterwards.
    """
    torch.manual_seed(0)
    vit = create_backbone(backbone, num_classes=CLASSES, img_size=size).to(device).eval()
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    pictures = torch.randn(images, 3, size, size)
    attach(vit, pictures[:batch], steps=1, batch_size=batch)  # warms up
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    model = attach(vit, pictures, steps=steps, batch_size=batch)
    answer = model.predict(pictures[:1].to(device))
    assert torch.isfinite(answer).all()  # and waits for the device
    taken = time.perf_counter() - started
    after = vit.state_dict()
    return {
        "milliseconds": round(1e3 * taken / steps, 3),
        "mib": _peak(device),
        "moved": max(float((after[name] - value).abs().max()) for name, value in before.items()),
    }


def compiled_steps(
    backbone: str, size: int, batch: int, rounds: int, device: torch.device, compiler: str
) -> dict[str, Any]:
    """The paper's joint step over the plain one in bf16, both under `torch.compile`.

    `first_step` is in seconds, and has the compilation in it.
    """
    torch.manual_seed(0)
    model = IAViT.create(backbone, CLASSES, size).to(device).train()
    images = torch.randn(batch, 3, size, size, device=device)
    labels = torch.randint(CLASSES, (batch,), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    plain_model: Callable[..., Any] = torch.compile(model.extractor.backbone, backend=compiler)
    joint_model: Callable[..., Any] = torch.compile(model, backend=compiler)

    def plain() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return F.cross_entropy(plain_model(images), labels)

    def joint() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            output = joint_model(images, attention="gradient")
            return weighted_sum(Inputs(output, labels), RECIPES["paper"])["loss"]

    losses = {"plain": plain, "joint": joint}
    steps: dict[str, Callable[[], float]] = {
        name: partial(timed_step, loss, optimizer, device) for name, loss in losses.items()
    }
    first = {name: round(step(), 2) for name, step in steps.items()}
    times = ratios_in_turn(steps, rounds)
    peaks = {name: _peak_of(step, device) for name, step in steps.items()}
    return {
        "first_step": first,
        "milliseconds": {name: round(1e3 * step(), 3) for name, step in steps.items()},
        "time": round(times["joint"], 4),
        "peak_memory": None
        if peaks["plain"] is None or peaks["joint"] is None
        else round(peaks["joint"] / peaks["plain"], 4),
    }


@torch.inference_mode()
def forward_rates(
    backbone: str, size: int, batch: int, rounds: int, device: torch.device
) -> dict[str, float]:
    """Images a second in bf16: the prediction alone, with its explanation, and of one image."""
    model = IAViT.create(backbone, CLASSES, size, branch_width=None).to(device).eval()
    images = torch.randn(batch, 3, size, size, device=device)
    explained = partial(model, attention="none")
    calls: dict[str, Callable[[], object]] = {
        "plain": lambda: model.predict(images),
        "explained": lambda: explained(images),
        "contributions": lambda: model.contributions(images),
        "explained, one at a time": lambda: explained(images[:1]),
    }
    found = {}
    for name, call in calls.items():
        count = 1 if name.endswith("one at a time") else batch
        taken = [_seconds(call, device) for _ in range(WARM_UP + rounds)][WARM_UP:]
        found[name] = round(count / statistics.median(taken), 1)
    return found


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _peak_of(call: Callable[[], object], device: torch.device) -> float | None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    call()
    return _peak(device)


def _peak(device: torch.device) -> float | None:
    """The most MiB that torch's allocator held since it was reset; None off a GPU."""
    if device.type != "cuda":
        return None
    return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
