"""`iavit serve` as it is started: its address, its processes, its refusals to start."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
import uvicorn

from iavit.errors import UserError
from iavit.handover import classifier as loading
from iavit.handover.classifier import Classifier
from iavit.serve import app as serving
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
        (Settings("run", port=0, workers=3, limits=Limits(queue=7, seconds=11)), False),
        (Settings("run", port=0, limits=Limits(seconds=0.5)), False),
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
        asked["inherited"] = os.get_inheritable(options["fd"])  # by workers
        with socket.socket(fileno=os.dup(options["fd"])) as listening:
            again = listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
            asked.update(options, app=app, address=listening.getsockname(), again=again)

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
    assert asked["inherited"]
    assert asked["again"]  # the port may be had at once after a server that ended
    assert asked["timeout_graceful_shutdown"] == math.ceil(settings.limits.seconds)
    assert asked["timeout_worker_healthcheck"] == 300
    assert (asked["log_level"], asked["ws"], asked["server_header"]) == ("warning", "none", False)
    if settings.workers == 1:
        assert (asked["app"], asked["factory"]) == (settings, False)
    else:  # each makes its own, by what is left for it
        assert (asked["app"], asked["factory"]) == ("iavit.serve.server:worker_application", True)
        gathered = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        assert gathered.name.startswith("iavit-metrics-")
        assert server.worker_application() == settings  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("host", ["localhost", "::1"])
def test_this_machine_by_its_other_names(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listening = contextlib.nullcontext(
        SimpleNamespace(getsockname=lambda: ("::1", 80, 0, 0), fileno=lambda: 7)
    )
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: None)
    monkeypatch.setattr(server, "application", lambda settings: settings)
    monkeypatch.setattr(server, "_listening", lambda *address: listening)
    server.serve(Settings("run", host))
    assert capsys.readouterr().out == "Serving run at http://[::1]:80/ (stop: Ctrl-C)\n"


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.EADDRINUSE, "`port` 81 is in use on localhost; name another, or 0"),
        (errno.EACCES, "`port` 81 may not be opened by you; name one above 1023"),
        (errno.EADDRNOTAVAIL, "`host` is 'localhost', and there is no such address here"),
    ],
)
def test_an_address_that_cannot_be_had(
    number: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(self: socket.socket, address: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(UserError) as refused:
        server._listening("localhost", 81)
    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("workers", "cores", "threads", "set_to"),
    [(1, 12, 12, []), (5, 12, 2, [2]), (3, 2, 1, [1]), (2, None, 1, [1])],
)
def test_workers_share_the_cores(
    workers: int,
    cores: int | None,
    threads: int,
    set_to: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model is on the device that is named, and the service has the limits and the token."""
    moved: list[object] = []
    counts: list[int] = []
    asked: list[tuple[object, ...]] = []
    loaded = SimpleNamespace(model=SimpleNamespace(to=moved.append), saved="the model")
    monkeypatch.setattr(loading, "load", lambda source: {"run": loaded}[source])
    monkeypatch.setattr(serving, "create_app", lambda *given: asked.append(given))
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    limits = Limits(queue=7)
    server.application(Settings("run", workers=workers, token="t", device="meta", limits=limits))
    assert asked == [("the model", limits, "t", threads)]
    assert (moved, counts) == ([torch.device("meta")], set_to)


def test_settings_are_checked_in_python_too() -> None:
    assert Settings("run") == Settings("run", "127.0.0.1", 8000, 1, None, "cpu", Limits())
    for fine in ({"port": 0}, {"port": 65535}, {"workers": 64}, {"token": "t"}):
        Settings("run", **fine)
    for wrong in ({"port": -1}, {"port": 65536}, {"workers": 0}, {"workers": 65}, {"token": ""}):
        ((name, value),) = wrong.items()
        line = "`token` is empty" if name == "token" else f"`{name}` is {value}; "
        with pytest.raises(UserError, match=line):
            Settings("run", **wrong)
    for token in ("schlüssel", "two words", "line\n"):
        with pytest.raises(UserError, match="`token` has a space or a letter that no header"):
            Settings("run", token=token)
    Settings("run", token="aZ09!~")
