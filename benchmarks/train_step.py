"""What does explaining itself cost a training step?

Ratios to a plain timm cross-entropy step with fused attention on the same backbone, batch,
precision and optimiser, of
- `stored`: every layer's attention map kept for the backward pass, as the authors do;
- `detached`: ours, the extractor's attention as a target without gradient (the default);
- `joint`: ours, with gradient into the extractor's attention.

Time: median over rounds of the ratio to the plain step of the same round; the four variants take
turns, another first in each round. Saved bytes: distinct tensors that autograd keeps for the
backward pass, parameters aside. Peak memory: of the device, where it can be read.

    python benchmarks/train_step.py --json benchmarks/results/train_step.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from results import ratios_in_turn, tell
from torch import Tensor, nn
from torch.nn import functional as F

from iavit.config import RECIPES
from iavit.model.iavit import IAViT
from iavit.objective.inputs import Inputs
from iavit.objective.step import weighted_sum
from iavit.types import Output

CLASSES = 10
VARIANTS = ("plain", "stored", "detached", "joint")

Loss = Callable[[Tensor, Tensor], Tensor]


def stored_forward(model: IAViT, images: Tensor) -> Output:
    """The authors' way: whole maps from an unfused attention, averaged in the graph."""
    extractor = model.extractor
    vit = extractor.backbone
    tokens = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(images))))
    received = []
    for block in vit.blocks:
        attention, inputs = block.attn, block.norm1(tokens)
        batch, length, _ = inputs.shape
        qkv = attention.qkv(inputs).reshape(
            batch, length, 3, attention.num_heads, attention.head_dim
        )
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        rows = ((queries * attention.scale) @ keys.transpose(-2, -1)).softmax(dim=-1)
        patches = rows[:, :, extractor.prefix :, extractor.prefix :]
        received.append(patches.mean(dim=(1, 2)))
        context = (rows @ values).transpose(1, 2).reshape(batch, length, -1)
        tokens = tokens + attention.proj(context)
        tokens = tokens + block.mlp(block.norm2(tokens))
    tokens = vit.norm(tokens)
    mean = torch.stack(received).mean(dim=0)
    patches = tokens[:, extractor.prefix :]
    logits, attention_map = model.interpreter(patches)
    target = mean / mean.sum(dim=-1, keepdim=True)
    return Output(extractor.predict(tokens), logits, target, attention_map, tokens, patches)


def losses(model: IAViT) -> dict[str, Loss]:
    """The loss of each variant, the paper's three terms, from images and labels."""

    def paper(output: Output, labels: Tensor) -> Tensor:
        return weighted_sum(Inputs(output, labels), RECIPES["paper"])["loss"]

    backbone = model.extractor.backbone
    return {
        "plain": lambda images, labels: F.cross_entropy(backbone(images), labels),
        "stored": lambda images, labels: paper(stored_forward(model, images), labels),
        "detached": lambda images, labels: paper(model(images), labels),
        "joint": lambda images, labels: paper(model(images, attention="gradient"), labels),
    }


def saved_bytes(model: nn.Module, loss: Loss, images: Tensor, labels: Tensor) -> int:
    """Bytes of distinct storages that one forward pass keeps, parameters and inputs aside."""
    known = {p.untyped_storage().data_ptr() for p in model.parameters()}
    known.add(images.untyped_storage().data_ptr())
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = loss(images, labels)
        total = sum(kept.values())
    del result
    return total


def measure(
    backbone: str, size: int, batch: int, rounds: int, device: torch.device, precision: str
) -> dict[str, dict[str, float | None]]:
    """Ratios of one backbone's variants to its plain step."""
    torch.manual_seed(0)
    model = IAViT.create(backbone, CLASSES, size).to(device).train()
    images = torch.randn(batch, 3, size, size, device=device)
    labels = torch.randint(CLASSES, (batch,), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    half = precision == "bf16"

    def with_precision(loss: Loss) -> Loss:
        def cast(images: Tensor, labels: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                return loss(images, labels)

        return cast

    variants = {name: with_precision(loss) for name, loss in losses(model).items()}

    def step(name: str) -> float:
        return timed_step(partial(variants[name], images, labels), optimizer, device)

    times = ratios_in_turn({name: partial(step, name) for name in VARIANTS}, rounds)
    saved = {name: saved_bytes(model, variants[name], images, labels) for name in VARIANTS}
    peaks = {name: _peak(step, name, device) for name in VARIANTS}
    plain_peak = peaks["plain"]
    return {
        name: {
            "time": round(times[name], 4),
            "saved_bytes": round(saved[name] / saved["plain"], 4),
            "peak_memory": None
            if plain_peak is None
            else round((peaks[name] or 0) / plain_peak, 4),
        }
        for name in VARIANTS
        if name != "plain"
    }


def timed_step(
    loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, device: torch.device
) -> float:
    """Seconds of one step: forward, backward and optimiser."""
    _wait(device)
    started = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    loss().backward()
    optimizer.step()
    _wait(device)
    return time.perf_counter() - started


def _peak(step: Callable[[str], float], name: str, device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats(device)
    step(name)
    return torch.cuda.max_memory_allocated(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--backbones", default="vit_tiny_patch16_224,vit_small_patch16_224", help="timm names a,b"
    )
    parser.add_argument("--img-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--precision", choices=["32", "bf16"], default="32")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = {
        backbone: measure(
            backbone,
            options.img_size,
            options.batch_size,
            options.rounds,
            device,
            options.precision,
        )
        for backbone in options.backbones.split(",")
    }
    tell(results, options.json)


if __name__ == "__main__":
    main()
