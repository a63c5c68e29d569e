"""The table of docs/scale.md: what many images cost, from the rates that were measured.

python benchmarks/scale.py
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gpu_table import number, table

HERE = Path(__file__).parent
BEGIN, END = "<!-- written by benchmarks/scale.py -->", "<!-- end -->"

DAY, YEAR = 86_400, 365.25 * 86_400  # seconds
PATCHES = 196  # of 224 pixels in patches of 16
# Forward passes of each explainer, as docs/explainers.md has them; a backward pass is two.
QUICK = {
    **dict.fromkeys(("interpreter", "contributions", "raw_attention", "rollout"), 1),
    **dict.fromkeys(("attention_received", "grad_cam"), 1),
    **dict.fromkeys(("saliency", "input_x_gradient", "attgrads", "attcam", "generic_attention"), 3),
    "transformer_attribution": 10,
    "partial_lrp": 7,
    "random": 0,
}
SLOW = {
    "integrated_gradients": 150,
    "smoothgrad": 150,
    "rise": 1000,
    "occlusion": PATCHES + 1,
    "kernel_shap": 4 * PATCHES + 2,
}
POINTS = 23  # of a curve
CURVES = 2 * POINTS - 2  # passes an explainer: the whole image and the empty one are known


@dataclass(frozen=True)
class Rate:
    """Images a second of one model on one device."""

    device: str
    plain: float
    explained: float


def passes(explainers: dict[str, int]) -> int:
    """Forward passes that an audit of one image by these explainers costs, on one substrate."""
    return sum(explainers.values()) + CURVES * len(explainers)


def rates(results: Path) -> Iterator[Rate]:
    """Those that were measured: ViT-S/16 on two cores, and what a GPU gave."""
    for device, found in json.loads((results / "explainers.json").read_text()).items():
        batch = found["vit_small_patch16_224, batch 32"]
        plain = 32 / (batch["plain_milliseconds"] / 1000)
        yield Rate(f"ViT-S/16, {device}, float32", plain, plain / batch["contributions"])
    path = results / "gpu.json"
    measured = json.loads(path.read_text()) if path.is_file() else {}
    names = {"vit_small_patch16_224": "ViT-S/16", "vit_base_patch16_224": "ViT-B/16"}
    for device, found in measured.items():
        for backbone, figures in found.get("rates", {}).get("figures", {}).items():
            model = f"{names.get(backbone, backbone)}, {device}, bf16"
            yield Rate(model, figures["plain"], figures["contributions"])


def decoders(results: Path) -> float:
    """Files that one core decodes in a second: 500 x 375 JPEG to 224 pixels."""
    (found,) = json.loads((results / "loading.json").read_text()).values()
    return float(found["folder_images_per_second"]) / 2  # by two processes


def costs(results: Path) -> str:
    """A row for each rate."""
    everything = passes({**QUICK, **SLOW})
    rows = []
    for rate in rates(results):
        audit = 50_000 / rate.plain
        rows.append(
            [
                rate.device,
                number(rate.explained),
                number(1e9 / rate.explained / DAY),
                number(rate.explained / decoders(results)),
                number(audit * passes(QUICK) / 3600),
                number(audit * everything / 3600),
                number(1e9 * everything / rate.plain / YEAR),
            ]
        )
    header = [
        "one device",
        "explained a second",
        "days for 10⁹",
        "cores that decode for it",
        f"hours: 50,000 audited by {len(QUICK)} quick explainers",
        f"… by all {len(QUICK) + len(SLOW)}",
        "years: 10⁹ audited by all",
    ]
    return table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "scale.md")
    options = parser.parse_args()
    page = options.page.read_text()
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    options.page.write_text(f"{before}{BEGIN}\n\n{costs(options.results)}\n\n{END}{after}")


if __name__ == "__main__":
    main()
