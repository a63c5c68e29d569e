"""`iavit serve`: the service on a port, in one process or several."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import socket
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iavit.errors import UserError
from iavit.serve.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

SETTINGS = "IAVIT_SERVE"  # in the environment: how worker processes know what to serve
LOADING = 300  # seconds that a worker may be busy with loading its model before it is given up
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Settings:
    """What is served, where, and to whom.

    source: what `iavit.load` takes. port: 0 takes any that is free.
    """

    source: str
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    token: str | None = None
    device: str = "cpu"
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise UserError(f"`port` is {self.port}; name one from 1 to 65535, or 0 for a free one")
        if not 1 <= self.workers <= 64:
            raise UserError(f"`workers` is {self.workers}; start 1 to 64")
        if self.token == "":
            raise UserError("`token` is empty; give one, or leave the option out")
        if not all("!" <= letter <= "~" for letter in self.token or ""):
            raise UserError(
                "`token` has a space or a letter that no header carries; use a to z, digits and "
                "signs of ASCII"
            )


def serve(settings: Settings) -> None:
    """Answer requests until interrupted.

    Raises `UserError` where the packages of the extra `serve` are missing, the model cannot be
    loaded, or the address cannot be had.
    """
    try:
        import fastapi_offline  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"serving needs the package {error.name}: pip install 'iavit[serve]'"
        ) from error
    app = application(settings)  # before the port: a model that cannot be loaded opens none
    with _listening(settings.host, settings.port) as listening:
        address = listening.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        print(
            f"Serving {settings.source} at http://{shown}:{address[1]}/ (stop: Ctrl-C)", flush=True
        )
        if settings.host not in LOOPBACK and settings.token is None:
            print("Anyone who reaches this address may use it; --token asks for one.", flush=True)
        _run(app if settings.workers == 1 else None, settings, listening.fileno())


def _run(app: FastAPI | None, settings: Settings, listening: int) -> None:
    """Serve an application in this process, or one in each of several workers."""
    import uvicorn

    with tempfile.TemporaryDirectory(prefix="iavit-metrics-") as gathered:
        if app is None:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = gathered
            os.environ[SETTINGS] = json.dumps(dataclasses.asdict(settings))
        uvicorn.run(
            app or "iavit.serve.server:worker_application",
            factory=app is None,
            workers=settings.workers,
            fd=listening,
            log_level="warning",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=math.ceil(settings.limits.seconds),
            timeout_worker_healthcheck=LOADING,
        )


def application(settings: Settings) -> FastAPI:
    """The service of these settings, its model loaded."""
    import torch

    from iavit.handover.classifier import load
    from iavit.serve.app import create_app

    classifier = load(settings.source)
    classifier.model.to(torch.device(settings.device))
    threads = max(1, (os.cpu_count() or 1) // settings.workers)
    if settings.workers > 1:
        torch.set_num_threads(threads)
    return create_app(classifier.saved, settings.limits, settings.token, threads)


def worker_application() -> FastAPI:
    """The service in a worker process, by the settings that its parent left."""
    known = json.loads(os.environ[SETTINGS])
    return application(Settings(**{**known, "limits": Limits(**known["limits"])}))


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; `UserError` in one line where it cannot."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter of names too long for one
        raise UserError(f"`host` is '{host}', and there is no such address here") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"`port` {port} is in use on {host}; name another, or 0") from error
        if error.errno == errno.EACCES:
            raise UserError(
                f"`port` {port} may not be opened by you; name one above 1023"
            ) from error
        raise UserError(f"`host` is '{host}', and there is no such address here") from error
    listening.set_inheritable(True)
    return listening
