"""Published weights, without the minute of retries that a machine without internet would cost."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from iavit.errors import UserError

# What a model's repository holds; nothing else is fetched from one.
FILES = ("config.json", "model.safetensors", "evaluation.json", "README.md")

PATIENCE = 5.0  # seconds until the hub counts as out of reach


def download(repository: str) -> Path:
    """The folder of a model that was pushed to the hub, `owner/name`, from its cache if it can.

    Only `FILES` are fetched.

    Raises `UserError` for a name that is none, a repository that is not there or not open to
    who asks, and where the hub cannot be reached.
    """
    try:
        with cached_unless_reachable():
            folder = snapshot_download(repository, allow_patterns=list(FILES))
    except HFValidationError as error:
        raise UserError(f"'{repository}' names nothing on the hub; give OWNER/NAME") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(
            f"{repository} is not on the hub, or not open to you; check its name, "
            "or sign in with `hf auth login`"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UserError(
            f"{repository} cannot be fetched: the hub at {constants.ENDPOINT} does not answer; "
            "connect to the internet, or name a folder"
        ) from error
    return Path(folder)


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
