"""Ways to the attention received: which is exact, and on a GPU, which is fastest.

- `blocks`: the package's, softmax rows in blocks, summed and dropped;
- `whole`: every map at once, as timm's unfused attention forms it;
- `flex`: two calls of FlexAttention. The first gives each row's log-sum-exp; in the second,
  queries and keys change places and each score is lowered by its row's, so that the log-sum-exp
  that it returns is the log of a column sum.

Largest differences from float64 maps everywhere, and milliseconds where there is a GPU: in eager
mode on a processor FlexAttention forms the scores whole, which says nothing about its speed.

    python benchmarks/received.py --json benchmarks/results/received.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from results import tell
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, flex_attention

from iavit.model.attention import attention_received

PREFIX = 1
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


def draw(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, device=device, dtype=torch.float64).to(dtype) for _ in range(2)]


def differences(ways: dict[str, Way], device: torch.device) -> dict[str, dict[str, float]]:
    """Each way's largest relative difference from float64 maps, by type, 3 heads, 196 patches."""
    found: dict[str, dict[str, float]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        queries, keys = draw((2, 3, PREFIX + 196, 64), device, dtype)
        expected = whole(queries.double(), keys.double())
        found[str(dtype).removeprefix("torch.")] = {
            name: float(((way(queries, keys) - expected).abs() / expected).max())
            for name, way in ways.items()
        }
    return found


def milliseconds(
    ways: dict[str, Way], shape: tuple[int, ...], rounds: int, device: torch.device
) -> dict[str, float]:
    """Medians in bf16, on a GPU."""
    queries, keys = draw(shape, device, torch.bfloat16)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 3):
        for name, way in ways.items():
            torch.cuda.synchronize(device)
            started = time.perf_counter()
            way(queries, keys)
            torch.cuda.synchronize(device)
            if number >= 3:
                taken[name].append(1e3 * (time.perf_counter() - started))
    return {name: round(statistics.median(values), 3) for name, values in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ways: dict[str, Way] = {"blocks": blocks, "whole": whole, "flex": flex}
    if device.type == "cuda":
        ways |= {
            "flex": torch.compile(flex),
            "compiled": torch.compile(whole),
        }
    figures: dict[str, object] = {"differences": differences(ways, device)}
    if device.type == "cuda":
        figures["milliseconds"] = {
            f"{batch} x {heads} heads x {tokens} tokens": milliseconds(
                ways, (batch, heads, tokens, 64), options.rounds, device
            )
            for batch, heads, tokens in ((64, 12, 197), (8, 12, 785), (1, 12, 3137))
        }
    tell(figures, options.json)


if __name__ == "__main__":
    main()
