"""Published weights, without the minute of retries that a machine without internet would cost."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants

PATIENCE = 5.0  # seconds until the hub counts as out of reach


@contextmanager
def cached_unless_reachable() -> Iterator[None]:
    """Within, the hub answers from its cache alone if it cannot be reached: at once, and quietly.

    Left to itself, it retries every file for half a minute and says so on standard error.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not is_reachable(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def is_reachable(address: str) -> bool:
    """Whether anything answers there, by way of the system's proxies."""
    try:
        request = urllib.request.Request(address, method="HEAD")
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError as refusal:
        refusal.close()  # an answer all the same
    except (OSError, ValueError):
        return False
    return True
