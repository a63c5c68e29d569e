"""Where something was made: the commit of the code."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str | None:
    """The commit of the checkout that this package runs from, `-dirty` if it was changed since.

    None outside of a checkout.
    """
    described = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *described],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
