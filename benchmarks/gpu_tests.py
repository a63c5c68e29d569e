"""The tests that want a GPU, for `gpu.py`: how many passed, and what failed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def run_tests(files: Sequence[str]) -> dict[str, Any]:
    """Run the tests of the mark `cuda` in files; raises `RuntimeError` where pytest could not.

    The other files are not collected: they import packages that such a machine may not have.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", f"--junitxml={report}"]
        # Another version of torch has warnings of its own.
        command += ["-p", "no:cacheprovider", "-o", "filterwarnings=default", *files]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        print(done.stdout[-6000:], flush=True)
        if not report.is_file():
            raise RuntimeError((done.stderr or done.stdout)[-1500:])
        cases = list(ET.parse(report).getroot().iter("testcase"))
    failed = {
        f"{case.get('classname')}.{case.get('name')}": (problem.get("message") or "")[:500]
        for case in cases
        for problem in case
        if problem.tag in ("failure", "error")
    }
    skipped = sum(problem.tag == "skipped" for case in cases for problem in case)
    return {
        "passed": len(cases) - len(failed) - skipped,
        "skipped": skipped,
        "failed": failed,
    }
