"""The arithmetic of docs/scale.md."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from iavit.explain import EXPLAINERS, SLOW

ROOT = Path(__file__).parents[2]
BENCHMARKS, PAGE = ROOT / "benchmarks", ROOT / "docs" / "scale.md"


def write(page: Path, results: Path) -> str:
    command = [sys.executable, str(BENCHMARKS / "scale.py"), "--page", str(page)]
    subprocess.run([*command, "--results", str(results)], check=True, timeout=60)
    return page.read_text()


def test_the_page_is_what_follows_from_the_rates(tmp_path: Path) -> None:
    page = tmp_path / "scale.md"
    shutil.copy(PAGE, page)
    assert write(page, BENCHMARKS / "results") == PAGE.read_text()


def test_costs_follow_from_rates(tmp_path: Path) -> None:
    page = tmp_path / "scale.md"
    shutil.copy(PAGE, page)
    batch = {"plain_milliseconds": 320.0, "contributions": 1.25}  # 100 and 80 images a second
    files = {
        "explainers": {"M": {"vit_small_patch16_224, batch 32": batch}},
        "loading": {"M": {"folder_images_per_second": 400.0}},
        "gpu": {"G": {"rates": {"figures": {"vit": {"plain": 3000.0, "contributions": 2000.0}}}}},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    text = write(page, tmp_path)
    # 10^9 / 80 / 86,400 = 145 days; 50,000 x 654 / 100 / 3,600 = 90.8 hours.
    assert "| ViT-S/16, M, float32 | 80 | 145 | 0.4 | 90.8 | 438 | 1,000 |" in text
    assert "| vit, G, bf16 | 2,000 | 5.79 | 10 | 3.03 | 14.6 | 33.3 |" in text


def test_passes_are_of_every_explainer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import scale

    assert set(scale.QUICK) | set(scale.SLOW) == set(EXPLAINERS)
    assert set(scale.SLOW) == SLOW
    assert scale.passes({"rise": 1000}) == 1044
