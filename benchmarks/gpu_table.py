"""The tables of docs/training-cost.md from what `gpu.py` measured.

Everything between the page's two marks is written anew, one block for each device.

    python benchmarks/gpu_table.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BEGIN, END = "<!-- gpu: written by benchmarks/gpu_table.py -->", "<!-- gpu: end -->"
NOT_TAKEN = "No GPU was at hand: nothing here says anything of one."
AIMS = {"time": "1.10", "saved_bytes": "", "peak_memory": "1.06"}
NAMES = {
    "time": "time",
    "saved_bytes": "bytes saved for backward",
    "peak_memory": "peak memory",
}
Figures = Mapping[str, Any]


def tables(measured: Figures) -> str:
    """Markdown of every device's figures; what failed is said in place of its table."""
    if not measured:
        return NOT_TAKEN
    blocks = []
    for device, found in measured.items():
        memory = found["machine"]["figures"]["memory_gib"]
        size = "" if memory is None else f", {memory} GiB"
        blocks.append(f"{device}{size}, torch {found['torch']}.")
        for name, (heading, render) in PARTS.items():
            if name not in found:
                continue
            part = found[name]
            body = render(part["figures"]) if "figures" in part else f"Failed: {part['error']}"
            blocks.append(f"{heading}\n\n{body}")
    return "\n\n".join(blocks)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None) -> str:
    """Three or four digits; a dash where nothing was measured."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def step(figures: Figures) -> str:
    rows = [
        [
            f"{NAMES[measure]}, {backbone}",
            *(ratio(variants[name][measure]) for name in ("stored", "detached", "joint")),
            aim,
        ]
        for backbone, variants in figures.items()
        for measure, aim in AIMS.items()
    ]
    header = ["", "stored maps", "target detached", "joint", "aimed at"]
    return table(header, rows)


def steps(figures: Figures) -> str:
    rows = []
    for backbone, recipes in figures.items():
        plain = recipes["plain"]
        for recipe, found in recipes.items():
            memory = None if found["mib"] is None else found["mib"] / 1024
            times = found["milliseconds"] / plain["milliseconds"]
            share = None if memory is None else found["mib"] / plain["mib"]
            row = [number(found["milliseconds"]), ratio(times), number(memory), ratio(share)]
            rows.append([f"{backbone}, {recipe}", *row])
    return table(["", "ms a step", "over plain", "GiB", "over plain"], rows)


def attaching(figures: Figures) -> str:
    rows = [
        [
            backbone,
            number(found["milliseconds"]),
            number(None if found["mib"] is None else found["mib"] / 1024),
            f"{found['moved']:g}",
        ]
        for backbone, found in figures.items()
    ]
    return table(["", "ms a step", "GiB", "largest change of the predictor"], rows)


def ways(figures: Figures) -> str:
    rows = [
        [shape, name, number(found.get("milliseconds")), f"{found['difference']:.1e}"]
        for shape, compared in figures.items()
        for name, found in compared.items()
    ]
    header = ["images x heads x tokens x channels", "way", "ms", "largest relative difference"]
    return table(header, rows)


def engine(figures: Figures) -> str:
    rows = [
        [
            name,
            number(figures[name]["images_per_second"]),
            number(figures[name]["passes"]),
            ratio(figures[name]["of_limit"]),
        ]
        for name in ("ours", "drop", "limit")
    ]
    return table(["", "images a second", "passes an image", "of the limit"], rows)


def rates(figures: Figures) -> str:
    names = list(next(iter(figures.values())))
    rows = [
        [backbone, *(number(found[name]) for name in names)] for backbone, found in figures.items()
    ]
    return table(["images a second", *names], rows)


def explainers(figures: Figures) -> str:
    ((backbone, found),) = figures.items()
    plain = found["plain_milliseconds"]
    rows = [[name, number(value)] for name, value in found.items() if name != "plain_milliseconds"]
    rows.append(
        ["all together", number(sum(v for k, v in found.items() if k != "plain_milliseconds"))]
    )
    return table(["", f"forward passes of {backbone} ({number(plain)} ms)"], rows)


def compiled(figures: Figures) -> str:
    rows = [
        [
            backbone,
            *(number(found["milliseconds"][name]) for name in ("plain", "joint")),
            ratio(found["time"]),
            ratio(found["peak_memory"]),
            ", ".join(number(found["first_step"][name]) for name in ("plain", "joint")),
        ]
        for backbone, found in figures.items()
    ]
    header = ["", "ms, plain", "ms, joint", "time", "peak memory", "s of the first steps"]
    return table(header, rows)


def tests(figures: Figures) -> str:
    failed = "; ".join(f"{name}: {why}" for name, why in figures["failed"].items()) or "none"
    return f"{figures['passed']} passed, {figures['skipped']} skipped, failed: {failed}."


PARTS = {
    "step": ("A step of the paper's terms over the plain one, batch 64, bf16, 224 px:", step),
    "steps": ("Steps by recipe, each alone on the device, the same batch and precision:", steps),
    "attach": ("`iavit.attach`, float32, the same batch:", attaching),
    "received": ("The attention received, bf16:", ways),
    "received_compiled": ("The attention received, by what a compiler makes of it:", ways),
    "perturbation": ("Insertion and deletion at 28 points in bf16:", engine),
    "rates": ("Forward passes in bf16, 256 images at a time:", rates),
    "explainers": ("Explainers on 8 images, float32, in plain forward passes:", explainers),
    "compiled": ("The joint step over the plain one under `torch.compile`:", compiled),
    "tests": ("Tests of the mark `cuda`:", tests),
}


def inserted(page: str, text: str) -> str:
    """The page with the text between its marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=HERE / "results" / "gpu.json")
    page = HERE.parent / "docs" / "training-cost.md"
    parser.add_argument("--page", type=Path, default=page)
    options = parser.parse_args()
    measured = json.loads(options.json.read_text()) if options.json.is_file() else {}
    options.page.write_text(inserted(options.page.read_text(), tables(measured)))


if __name__ == "__main__":
    main()
