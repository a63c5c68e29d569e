"""Ways to the attention received: which is exact, and on a GPU, which is fastest.

- `blocks`: the package's, softmax rows in blocks, summed and dropped;
- `whole`: every map at once, as timm's unfused attention forms it;
- `flex`: two calls of FlexAttention. The first gives each row's log-sum-exp; in the second,
  queries and keys change places and each score is lowered by its row's, so that the log-sum-exp
  that it returns is the log of a column sum;
- `triton`: the same in two kernels of Triton's (`received_triton.py`), on a GPU;
- `compiled`: `whole` under `torch.compile`, on a GPU.

Largest relative difference from float64 maps everywhere, and milliseconds where there is a GPU: in
eager mode on a processor FlexAttention forms the scores whole, which says nothing about its speed.

    python benchmarks/received.py --json benchmarks/results/received.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from results import tell
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, flex_attention

from iavit.model.attention import attention_received

PREFIX = 1
CALLS = 10  # between two looks at the clock
Way = Callable[[Tensor, Tensor], Tensor]


def blocks(queries: Tensor, keys: Tensor) -> Tensor:
    return attention_received(queries, keys, prefix=PREFIX, scale=queries.shape[-1] ** -0.5)


def whole(queries: Tensor, keys: Tensor) -> Tensor:
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    rows = scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    return rows[:, :, PREFIX:, PREFIX:].mean(dim=(1, 2))


def flex(queries: Tensor, keys: Tensor) -> Tensor:
    """(B, heads, T, d) twice to (B, N). Values are asked for by FlexAttention, and not used."""
    queries = queries[:, :, PREFIX:].contiguous()
    aux = AuxRequest(lse=True)
    rows = flex_attention(queries, keys, keys, return_aux=aux)[1].lse  # (B, heads, N)
    assert rows is not None

    def lowered(score: Tensor, b: Tensor, h: Tensor, _key: Tensor, query: Tensor) -> Tensor:
        return score - rows[b, h, query]

    patches = keys[:, :, PREFIX:].contiguous()
    columns = flex_attention(patches, queries, queries, score_mod=lowered, return_aux=aux)[1].lse
    assert columns is not None
    return columns.exp().mean(dim=1) / queries.shape[2]


def ways(device: torch.device, *, compiled: bool) -> dict[str, Way]:
    """By name: those that are there at once, or those that a compiler has to make first."""
    if device.type == "cpu":
        return {"blocks": blocks, "whole": whole, "flex": flex}
    if compiled:
        return {
            "blocks": blocks,
            "flex": torch.compile(flex, dynamic=False),
            "compiled": torch.compile(whole, dynamic=False),
        }
    from received_triton import received

    return {"blocks": blocks, "whole": whole, "triton": partial(received, prefix=PREFIX)}


def measure(
    compared: dict[str, Way],
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    rounds: int,
    device: torch.device,
) -> dict[str, dict[str, float]]:
    """Difference and, on a GPU, milliseconds of each way.

    shape: of queries and keys, (B, heads, T, d).
    """
    torch.manual_seed(0)
    queries, keys = (
        torch.randn(shape, device=device, dtype=torch.float64).to(dtype) for _ in range(2)
    )
    expected = whole(queries.double(), keys.double())
    found = {
        name: {"difference": float(((way(queries, keys) - expected).abs() / expected).max())}
        for name, way in compared.items()
    }
    if device.type == "cuda":
        for name, taken in _milliseconds(compared, queries, keys, rounds).items():
            found[name]["milliseconds"] = taken
    return found


def _milliseconds(
    compared: dict[str, Way], queries: Tensor, keys: Tensor, rounds: int
) -> dict[str, float]:
    """Medians over rounds in which the ways take turns, after three that warm up.

    Ten calls at a time, as a training step queues them: the device does not wait for Python.
    """
    taken: dict[str, list[float]] = {name: [] for name in compared}
    for number in range(rounds + 3):
        for name, way in compared.items():
            torch.cuda.synchronize(queries.device)
            started = time.perf_counter()
            for _ in range(CALLS):
                way(queries, keys)
            torch.cuda.synchronize(queries.device)
            if number >= 3:
                taken[name].append(1e3 * (time.perf_counter() - started) / CALLS)
    return {name: round(statistics.median(values), 4) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compared = ways(device, compiled=False) | ways(device, compiled=True)
    shape = (2, 3, PREFIX + 196, 64)
    figures = {
        str(dtype).removeprefix("torch."): measure(compared, shape, dtype, options.rounds, device)
        for dtype in (torch.float32, torch.bfloat16)
    }
    tell(figures, options.json)


if __name__ == "__main__":
    main()
