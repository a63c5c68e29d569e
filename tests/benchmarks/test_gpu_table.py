"""The tables of docs/training-cost.md are what was measured on a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT, PAGE = ROOT / "benchmarks" / "gpu_table.py", ROOT / "docs" / "training-cost.md"
FIGURES = {
    "A GPU": {
        "torch": "2.11.0",
        "machine": {"figures": {"device": "A GPU", "python": "3.12.3", "memory_gib": 79.2}},
        "step": {
            "figures": {
                "vit": {
                    "stored": {"time": 1.5, "saved_bytes": 1.2, "peak_memory": 1.3},
                    "detached": {"time": 1.0421, "saved_bytes": 1.02, "peak_memory": 1.011},
                    "joint": {"time": 1.0876, "saved_bytes": 1.02, "peak_memory": 1.012},
                }
            },
            "seconds": 9.0,
        },
        "steps": {
            "figures": {
                "vit": {
                    "plain": {"milliseconds": 40.0, "mib": 8192.0},
                    "faithful": {"milliseconds": 90.0, "mib": 12288.0},
                }
            },
            "seconds": 9.0,
        },
        "attach": {
            "figures": {"vit": {"milliseconds": 51.25, "mib": 3072.0, "moved": 0.0}},
            "seconds": 9.0,
        },
        "compiled": {"error": "RuntimeError: no compiler", "seconds": 1.0},
    }
}


def write(page: Path, json_file: Path) -> str:
    command = [sys.executable, str(SCRIPT), "--json", str(json_file), "--page", str(page)]
    subprocess.run(command, check=True, timeout=60)
    return page.read_text()


def test_tables_have_the_figures_and_name_what_failed(tmp_path: Path) -> None:
    measured = tmp_path / "gpu.json"
    measured.write_text(json.dumps(FIGURES))
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    text = write(page, measured)
    assert "A GPU, 79.2 GiB, torch 2.11.0." in text
    assert "| time, vit | 1.500 | 1.042 | 1.088 | 1.10 |" in text
    assert "| peak memory, vit | 1.300 | 1.011 | 1.012 | 1.06 |" in text
    assert "| vit, faithful | 90 | 2.250 | 12 | 1.500 |" in text
    assert "| vit | 51.2 | 3 | 0 |" in text
    assert "Failed: RuntimeError: no compiler" in text
    assert write(page, measured) == text  # written twice, it is the same page
    assert write(page, tmp_path / "none.json").count("No GPU was at hand") == 1


def test_the_page_is_what_was_measured(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    assert write(page, ROOT / "benchmarks" / "results" / "gpu.json") == PAGE.read_text()
