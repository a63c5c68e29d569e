"""Stands before the service: who may come in, how many at once, how much, and for how long."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iavit.serve.limits import Limits
from iavit.serve.metrics import Metrics

GUARDED = ("/v1/", "/metrics")  # what a token is asked for
SECURE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


class Gate:
    """ASGI middleware that applies `Limits` and the token; the service behind it need not know.

    Statuses: 401 without the token, 413 and 415 for what is not read, 503 where too many requests
    are being answered, 408 for an upload and 504 for an answer that takes too long. It stands
    before the service also where another application mounts it below a path of its own.
    """

    def __init__(self, app: ASGIApp, limits: Limits, token: str | None, metrics: Metrics) -> None:
        self.app = app
        self.limits = limits
        self.token = token
        self.metrics = metrics
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def answered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(name.encode(), value.encode()) for name, value in SECURE.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        path = scope["path"].removeprefix(scope.get("root_path", ""))
        asks = path.startswith("/v1/")
        try:
            refusal = self._refusal(scope, path, asks)
            if refusal is not None:
                await refusal(scope, receive, answered)
            elif asks:
                await self._admit(scope, receive, answered, lambda: status > 0)
            else:
                await self.app(scope, receive, answered)
        except Exception:
            status = status or 500  # which is what is answered outside of this
            raise
        finally:
            if asks:
                self.metrics.answered(status, time.perf_counter() - began)

    def _refusal(self, scope: Scope, path: str, asks: bool) -> JSONResponse | None:
        """What can be said from the headers alone."""
        headers = Headers(scope=scope)
        if self.token and path.startswith(GUARDED):
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if not secrets.compare_digest(given.encode(), self.token.encode()):
                return _refuse(401, "send the server's token", {"www-authenticate": "Bearer"})
        if not asks or scope["method"] != "POST":
            return None
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self.limits.body:
            return _refuse(413, self._too_large(), {"connection": "close"})
        if not headers.get("content-type", "").startswith("multipart/form-data"):
            return _refuse(415, "send pictures as multipart/form-data, in the field 'files'")
        if self.inside >= self.limits.queue:
            return _refuse(503, "too many requests wait; try again", {"retry-after": "1"})
        return None

    async def _admit(
        self, scope: Scope, receive: Receive, send: Send, has_begun: Callable[[], bool]
    ) -> None:
        taken, whole = 0, False

        async def bounded() -> Message:
            nonlocal taken, whole
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if taken > self.limits.body:
                    raise HTTPException(413, self._too_large(), {"connection": "close"})
            return message

        self.inside += 1
        self.metrics.inside(self.inside)
        try:
            async with asyncio.timeout(self.limits.seconds):
                await self.app(scope, bounded, send)
        except TimeoutError:
            if has_begun():
                raise
            status, words = (504, "the answer") if whole else (408, "the upload")
            late = f"{words} took longer than {self.limits.seconds:g} s"
            await _refuse(status, late, {"connection": "close"})(scope, receive, send)
        finally:
            self.inside -= 1
            self.metrics.inside(self.inside)

    def _too_large(self) -> str:
        return f"the request has more than {self.limits.megabytes:g} MB; send less at once"


def _refuse(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status, headers)
