"""Published weights where the hub cannot be reached."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from iavit.errors import UserError
from iavit.model import hub
from iavit.model.backbones import create_backbone


@pytest.fixture
def closed_port() -> str:
    """An address at which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def refusing_host() -> Iterator[str]:
    """An address that answers every request with 403."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(4096).startswith(b"HEAD ")
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_offline_is_told_in_one_line_at_once_and_quietly(
    closed_port: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", closed_port)
    started = time.perf_counter()
    with pytest.raises(UserError, match=r"vit_tiny_patch16_224 .*`weights`") as refusal:
        create_backbone("vit_tiny_patch16_224", num_classes=5, pretrained=True)
    assert time.perf_counter() - started < 20  # left to itself, the hub retries for 45 s
    assert "\n" not in str(refusal.value)
    assert capfd.readouterr() == ("", "")


def test_any_answer_counts_as_reachable(refusing_host: str) -> None:
    assert hub.is_reachable(refusing_host)


def test_no_answer_and_no_address_do_not(closed_port: str) -> None:
    assert not hub.is_reachable(closed_port)
    assert not hub.is_reachable("nowhere")


def test_of_a_repository_only_what_is_read_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(repository: str, allow_patterns: list[str]) -> str:
        assert constants.HF_HUB_OFFLINE
        assert allow_patterns == [
            "config.json",
            "model.safetensors",
            "evaluation.json",
            "README.md",
        ]
        if repository == "some/model":
            return "/cache/some/model"
        raise LocalEntryNotFoundError("offline") if "/" in repository else HFValidationError("name")

    monkeypatch.setattr(hub, "is_reachable", lambda _address: False)
    monkeypatch.setattr(hub, "snapshot_download", fetch)
    assert hub.download("some/model") == Path("/cache/some/model")
    with pytest.raises(UserError, match="another/model cannot be fetched: the hub at https://"):
        hub.download("another/model")
    with pytest.raises(UserError, match="'model' names nothing on the hub; give OWNER/NAME"):
        hub.download("model")


@pytest.mark.parametrize("reachable", [False, True])
def test_the_hubs_setting_is_put_back(monkeypatch: pytest.MonkeyPatch, reachable: bool) -> None:
    monkeypatch.setattr(hub, "is_reachable", lambda _address: reachable)
    with hub.cached_unless_reachable():
        assert constants.HF_HUB_OFFLINE is not reachable
    assert not constants.HF_HUB_OFFLINE
