"""What happens when 200 people send a photograph in the same moment?

Two servers, one after the other in each round: `iavit serve` as it is, and the same server with
the plain timm model behind it, which predicts and explains nothing. Of each the medians, over
rounds, of the latencies' p50 and p99 and the ratio of both servers in the same round; every
answer is compared with the library's own of that photograph; the memory is the server's peak
beyond what it took before the burst.

    python benchmarks/serve.py --backbone vit_digits --json benchmarks/results/serve.json
"""

from __future__ import annotations

import argparse
import asyncio
import io
import multiprocessing
import re
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import torch
import uvicorn
from PIL import Image
from results import tell

from iavit.data.decoding import decode_bytes
from iavit.data.transforms import Normalisation
from iavit.handover.fit import fitted
from iavit.model.iavit import IAViT
from iavit.model.weights import Saved
from iavit.serve.answers import Answer, Question, answer
from iavit.serve.app import create_app
from iavit.serve.limits import Limits

CLASSES = 10
SECONDS = 300  # a machine that others use may be slow: late is measured here, and not refused
TOLERANCE = 2e-6  # of probabilities with six decimals


@dataclass(frozen=True)
class Burst:
    """p50, p99: seconds. memory: bytes. lost, wrong: answers."""

    p50: float
    p99: float
    memory: int
    lost: int
    wrong: int


def model(backbone: str) -> Saved:
    """A model with random weights, the same in every process."""
    torch.manual_seed(0)
    classes = tuple(f"class {number}" for number in range(CLASSES))
    return Saved(IAViT.create(backbone, CLASSES).eval(), classes, Normalisation())


@torch.no_grad()
def predicted(saved: Saved, file: bytes) -> np.ndarray:
    """The library's answer of one file, (C,), asked alone."""
    side = int(saved.model.architecture.img_size)  # type: ignore[arg-type]  # of square images
    square = fitted(decode_bytes(file, "photograph"), side, saved.normalisation)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    logits = saved.model.predict(saved.normalisation.normalise(pixels)[None])
    found: np.ndarray = logits.softmax(dim=-1)[0].numpy()
    return found


@torch.no_grad()
def predict_only(saved: Saved, questions: Sequence[Question]) -> list[Answer]:
    """The plain timm model's answers in the service's own form, without an explanation."""
    pixels = torch.from_numpy(np.stack([question.square for question in questions]))
    images = saved.normalisation.normalise(pixels.permute(0, 3, 1, 2))
    probabilities = saved.model.extractor.backbone(images).softmax(dim=-1).numpy()
    none = np.zeros((0, 0), dtype=np.float32)
    return [
        Answer(row, row, none, none, int(row.argmax()), none, False, 1.0, None, None)
        for row in probabilities
    ]


def run_server(kind: str, backbone: str, port: int, requests: int) -> None:
    """Serve in this process, with an address of this machine."""
    answering = answer if kind == "iavit" else predict_only
    app = create_app(model(backbone), Limits(seconds=SECONDS, queue=requests), answering=answering)
    uvicorn.run(app, port=port, log_level="warning", ws="none")


def photographs(count: int, width: int, height: int) -> list[bytes]:
    """JPEG files, each another."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        with io.BytesIO() as file:
            coarse.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
            files.append(file.getvalue())
    return files


async def burst(
    address: str, pid: int, files: Sequence[bytes], expected: Sequence[np.ndarray]
) -> Burst:
    """All files at once, each in a connection of its own."""
    timeout = httpx.Timeout(2 * SECONDS)
    limits = httpx.Limits(max_connections=None)
    seconds: list[float] = []
    lost, wrong = 0, 0

    async def send(client: httpx.AsyncClient, number: int) -> None:
        nonlocal lost, wrong
        began = time.perf_counter()
        try:
            sent = [("files", (f"{number}.jpg", files[number], "image/jpeg"))]
            response = await client.post("/v1/explain", files=sent)
            response.raise_for_status()
        except httpx.HTTPError:
            lost += 1
            return
        seconds.append(time.perf_counter() - began)
        found = response.json()["results"][0]["probabilities"]
        wrong += bool(np.abs(np.array(found) - expected[number]).max() > TOLERANCE)

    before = resident(pid, "VmRSS")
    async with httpx.AsyncClient(base_url=address, timeout=timeout, limits=limits) as client:
        await asyncio.gather(*(send(client, number) for number in range(len(files))))
    p50, p99 = np.percentile(seconds, [50, 99])
    return Burst(float(p50), float(p99), resident(pid, "VmHWM") - before, lost, wrong)


def resident(pid: int, name: str) -> int:
    """Bytes of memory that a process has (`VmRSS`), or had at most (`VmHWM`)."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def measure(
    backbone: str, count: int, rounds: int, width: int, height: int
) -> dict[str, float | int]:
    """Both servers under the same bursts, in turn."""
    files = photographs(count, width, height)
    saved = model(backbone)
    expected = [predicted(saved, file) for file in files]
    context = multiprocessing.get_context("spawn")
    servers = {}
    try:
        for kind in ("plain", "iavit"):
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            process = context.Process(target=run_server, args=(kind, backbone, port, count))
            process.start()
            assert process.pid is not None
            servers[kind] = (process, f"http://127.0.0.1:{port}", process.pid)
        bursts: dict[str, list[Burst]] = {kind: [] for kind in servers}
        for number in range(rounds + 1):
            for kind in sorted(servers, reverse=bool(number % 2)):
                _, address, pid = servers[kind]
                if number == 0:  # the first one warms up
                    wait(address)
                    asyncio.run(burst(address, pid, files[:20], expected))
                else:
                    bursts[kind].append(asyncio.run(burst(address, pid, files, expected)))
    finally:
        for process, _, _ in servers.values():
            process.terminate()
            process.join()
    ours, plain = bursts["iavit"], bursts["plain"]
    return {
        "requests": count,
        "rounds": rounds,
        "lost": sum(each.lost for each in ours),
        "wrong": sum(each.wrong for each in ours),
        "p50_seconds": round(statistics.median(each.p50 for each in ours), 3),
        "p99_seconds": round(statistics.median(each.p99 for each in ours), 3),
        "plain_p50_seconds": round(statistics.median(each.p50 for each in plain), 3),
        "plain_p99_seconds": round(statistics.median(each.p99 for each in plain), 3),
        "p50_ratio": _ratio([a.p50 / b.p50 for a, b in zip(ours, plain, strict=True)]),
        "p99_ratio": _ratio([a.p99 / b.p99 for a, b in zip(ours, plain, strict=True)]),
        "memory_megabytes": round(max(each.memory for each in ours) / 1e6),
        "plain_memory_megabytes": round(max(each.memory for each in plain) / 1e6),
    }


def _ratio(of_rounds: Sequence[float]) -> float:
    return round(statistics.median(of_rounds), 3)


def wait(address: str) -> None:
    """Until the server has loaded its model."""
    for _ in range(3000):
        try:
            httpx.get(f"{address}/health").raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError(f"{address} did not answer within five minutes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--backbone", default="vit_tiny_patch16_224", help="timm name")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=640, help="of the photographs, in pixels")
    parser.add_argument("--height", type=int, default=480)
    options = parser.parse_args()
    figures = measure(
        options.backbone, options.requests, options.rounds, options.width, options.height
    )
    tell({options.backbone: figures}, options.json)


if __name__ == "__main__":
    main()
