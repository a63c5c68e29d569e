"""What does an exported graph take beside the model itself?

Milliseconds of a pass, batches of 1 and 32, on one thread, of torch (`torch`), the graph in
onnxruntime (`onnxruntime`) and the graph in 8 bits (`int8`), as ratios to torch; the seconds that
the export takes, and the megabytes of both files. Times are compared as in `train_step.py`.

    python benchmarks/export.py --json benchmarks/results/export.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch
from results import ratios_in_turn, tell

from iavit.data.transforms import Normalisation
from iavit.handover.export import export_onnx, image_sides
from iavit.handover.quantise import quantise
from iavit.model.graph import Graph
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved

CLASSES = 10


def measure(backbone: str, rounds: int) -> dict[str, Any]:
    """Ratios, seconds and megabytes of one backbone."""
    torch.manual_seed(0)
    model = IAViT.create(backbone, CLASSES).eval()
    size, _ = image_sides(model)
    saved = Saved(model, tuple(map(str, range(CLASSES))), Normalisation())
    with TemporaryDirectory() as folder:
        whole, small = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        started = time.perf_counter()
        export_onnx(saved, whole)
        seconds = time.perf_counter() - started
        quantise(whole, small)
        running = {"onnxruntime": session(whole), "int8": session(small)}
        figures: dict[str, Any] = {
            str(batch): ratios(model, running, size, batch, rounds) for batch in (1, 32)
        }
        figures["export_seconds"] = round(seconds, 1)
        figures["megabytes"] = round(whole.stat().st_size / 1e6, 1)
        figures["megabytes_int8"] = round(small.stat().st_size / 1e6, 1)
    return figures


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def ratios(
    model: IAViT,
    running: dict[str, onnxruntime.InferenceSession],
    size: int,
    batch: int,
    rounds: int,
) -> dict[str, float]:
    """Time of a pass over torch's, and torch's own in milliseconds."""
    images = torch.randn(batch, 3, size, size)
    feed = {"images": images.numpy()}
    variants: dict[str, Callable[[], object]] = {
        "torch": partial(Graph(model).eval(), images),
        **{name: partial(one.run, None, feed) for name, one in running.items()},
    }

    def seconds(name: str) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            variants[name]()
        return time.perf_counter() - started

    found = ratios_in_turn({name: partial(seconds, name) for name in variants}, rounds)
    alone = min(seconds("torch") for _ in range(rounds))
    return {name: round(ratio, 3) for name, ratio in found.items() if name != "torch"} | {
        "torch_ms": round(1000 * alone, 2)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the ratios")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--backbones", default="vit_digits,vit_tiny_patch16_224", help="names a,b")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.backbones.split(",")
    tell({backbone: measure(backbone, options.rounds) for backbone in names}, options.json)


if __name__ == "__main__":
    main()
