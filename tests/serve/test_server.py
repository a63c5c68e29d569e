"""`iavit serve` as it is started: its address, its processes, its refusals to start."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from iavit.errors import UserError
from iavit.handover.classifier import Classifier
from iavit.serve import server
from iavit.serve.limits import Limits
from iavit.serve.server import Settings


def _start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """The command in a process of its own, and the address that it says it serves."""
    process = subprocess.Popen(
        [sys.executable, "-m", "iavit", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"at (http://[^/]+)/", line)
    assert found is not None, line
    return process, found[1]


def _wait(address: str) -> None:
    """Until a worker has loaded its model."""
    for _ in range(1200):
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{address}/health", timeout=30).raise_for_status()
            return
        time.sleep(0.1)
    pytest.fail(f"{address} did not answer within two minutes")


def _stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return process.returncode


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def address(request: pytest.FixtureRequest, tiny_run: Path) -> Iterator[str]:
    process, address = _start(str(tiny_run), "--workers", str(request.param))
    try:
        _wait(address)
        yield address
    finally:
        _stop(process)


@pytest.mark.slow
def test_a_picture_is_explained_and_counted(
    address: str, classifier: Classifier, photo: Path
) -> None:
    own = classifier.explain(photo)
    with httpx.Client(base_url=address, timeout=60) as client:
        assert client.get("/health").json()["status"] == "ok"
        for _ in range(6):
            files = [("files", ("photo.png", photo.read_bytes()))]
            response = client.post("/v1/explain", files=files, headers={"connection": "close"})
            (result,) = response.json()["results"]
            assert result["probabilities"] == pytest.approx(own.probabilities.tolist(), abs=1e-6)
        text = client.get("/metrics").text  # of all workers together
        assert 'iavit_requests_total{status="200"} 6.0' in text
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "script-src 'self';" in page.headers["content-security-policy"]


@pytest.mark.slow
def test_it_ends_when_it_is_interrupted(tiny_run: Path) -> None:
    process, address = _start(str(tiny_run))
    _wait(address)
    assert _stop(process) in (0, 128 + signal.SIGINT)
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


@pytest.mark.slow
def test_it_is_for_this_machine_alone_unless_told(tiny_run: Path) -> None:
    assert Settings("run").host == "127.0.0.1"
    process, _ = _start(str(tiny_run), "--host", "0.0.0.0")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == (
            "Anyone who reaches this address may use it; --token asks for one.\n"
        )
    finally:
        _stop(process)


WARNING = "Anyone who reaches this address may use it; --token asks for one.\n"


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        (Settings("run", port=0), False),
        (Settings("run", "0.0.0.0", port=0), True),
        (Settings("run", "0.0.0.0", port=0, token="secret"), False),
        (Settings("run", port=0, workers=3, limits=Limits(queue=7)), False),
    ],
)
def test_the_server_is_asked_for_what_the_settings_say(
    settings: Settings,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: dict[str, Any] = {}

    def run(app: object, **options: Any) -> None:
        with socket.socket(fileno=os.dup(options["fd"])) as listening:
            asked.update(options, app=app, address=listening.getsockname())

    monkeypatch.setattr(uvicorn, "run", run)
    monkeypatch.setattr(os, "environ", {**os.environ})
    monkeypatch.setattr(server, "application", lambda settings: settings)
    server.serve(settings)
    host, port = asked["address"]
    assert host == settings.host
    assert capsys.readouterr().out == (
        f"Serving run at http://{host}:{port}/ (stop: Ctrl-C)\n{WARNING if warned else ''}"
    )
    assert asked["workers"] == settings.workers
    if settings.workers == 1:
        assert (asked["app"], asked["factory"]) == (settings, False)
    else:  # each makes its own, by what is left for it
        assert (asked["app"], asked["factory"]) == ("iavit.serve.server:worker_application", True)
        assert server.worker_application() == settings  # type: ignore[comparison-overlap]


def test_settings_are_checked_in_python_too() -> None:
    with pytest.raises(UserError, match="`port` is -1; name one"):
        Settings("run", port=-1)
