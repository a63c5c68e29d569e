"""Who may come in, how much, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Response
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from iavit.handover.classifier import Classifier
from iavit.serve.answers import Answer
from iavit.serve.app import create_app
from iavit.serve.gate import Gate
from iavit.serve.limits import Limits
from iavit.serve.metrics import Metrics
from tests.serve.asking import SMALL, Held, jpeg, post


def test_a_body_too_large(narrow: TestClient) -> None:
    assert post(narrow, bytes(300_000)) == (
        413,
        "the request has more than 0.2 MB; send less at once",
    )


def test_a_body_without_an_end_is_cut_off_early(
    classifier: Classifier, running: Callable[[FastAPI], str]
) -> None:
    """Eight gigabytes in pieces, of unknown length: refused after the first of them."""
    address = running(create_app(classifier.saved, SMALL))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\ncontent-disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        while sent < 8_000_000_000:
            sent += 65536
            yield bytes(65536)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    with contextlib.suppress(httpx.NetworkError):  # of who goes on sending after the answer
        httpx.post(f"{address}/v1/explain", content=endless(), headers=headers, timeout=30)
    assert sent < 20_000_000
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50_000  # kilobytes
    with httpx.Client(base_url=address) as client:
        assert 'iavit_requests_total{status="413"} 1.0' in client.get("/metrics").text
        assert post(client, jpeg(40, 40))[0] == 200


def test_a_client_that_leaves_halfway_harms_nobody(
    classifier: Classifier, running: Callable[[FastAPI], str]
) -> None:
    address = running(create_app(classifier.saved, SMALL))
    place = urlsplit(address)
    head = (
        f"POST /v1/explain HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 100000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    )
    for _ in range(5):
        with socket.create_connection((place.hostname or "", place.port or 0)) as sending:
            sending.sendall(head.encode() + jpeg(40, 40)[:500])
    with httpx.Client(base_url=address) as client:
        assert post(client, jpeg(40, 40))[0] == 200
        time.sleep(0.1)
        assert "iavit_requests_inside 0.0" in client.get("/metrics").text


def test_an_upload_that_stalls_is_given_up(
    classifier: Classifier, running: Callable[[FastAPI], str]
) -> None:
    address = running(create_app(classifier.saved, Limits(seconds=0.5)))
    place = urlsplit(address)
    head = (
        f"POST /v1/explain HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    with socket.create_connection((place.hostname or "", place.port or 0)) as sending:
        sending.sendall(head.encode())
        sending.settimeout(10)
        received = b""
        while part := sending.recv(4096):  # until the service hangs up
            received += part
    said = received.decode()
    assert said.startswith("HTTP/1.1 408 ")
    assert "the upload took longer than 0.5 s" in said


def test_an_answer_that_is_late_is_given_up(
    classifier: Classifier, running: Callable[[FastAPI], str]
) -> None:
    held = Held()
    app = create_app(classifier.saved, Limits(seconds=0.5), answering=held)
    with httpx.Client(base_url=running(app), timeout=30) as client:
        assert post(client, jpeg(40, 40)) == (504, "the answer took longer than 0.5 s")
        held.go.set()
        assert post(client, jpeg(40, 40))[0] == 200


def test_the_token(classifier: Classifier) -> None:
    with TestClient(create_app(classifier.saved, token="secret")) as client:
        files = [("files", ("a.jpg", jpeg(40, 40)))]
        for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "secrét"}):
            sent = {name.encode(): value.encode() for name, value in headers.items()}
            refused = client.post("/v1/explain", files=files, headers=sent)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/metrics").status_code == 401
        assert client.get("/health").status_code == 200
        right = {"authorization": "Bearer secret"}
        assert client.post("/v1/explain", files=files, headers=right).status_code == 200


class Noted(Metrics):
    """What a gate counts."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.counts: list[int] = []
        self.seconds: list[float] = []

    def answered(self, status: int, seconds: float) -> None:
        self.statuses.append(status)
        self.seconds.append(seconds)

    def inside(self, count: int) -> None:
        self.counts.append(count)


async def length(scope: Scope, receive: Receive, send: Send) -> None:
    """A service that answers with the length of what it was sent."""
    taken, more = 0, scope["type"] == "http"
    while more:
        message = await receive()
        taken += len(message.get("body", b""))
        more = message.get("more_body", False)
    await Response(str(taken))(scope, receive, send)


LIMITS = Limits(megabytes=0.001, queue=3)
FORM = {"content-type": "multipart/form-data; boundary=b"}


def gate(token: str | None = None) -> tuple[Gate, Noted, TestClient]:
    noted = Noted()
    made = Gate(length, LIMITS, token, noted)
    return made, noted, TestClient(made)


def test_a_body_may_be_as_long_as_the_limit() -> None:
    _, noted, client = gate()
    assert client.post("/v1/explain", content=bytes(1000), headers=FORM).text == "1000"
    over = client.post("/v1/explain", content=bytes(1001), headers=FORM)
    assert (over.status_code, over.headers["connection"]) == (413, "close")
    assert over.json()["detail"] == "the request has more than 0.001 MB; send less at once"
    pieces = client.post("/v1/explain", content=iter([bytes(400)] * 2), headers=FORM)
    assert pieces.text == "800"
    with pytest.raises(HTTPException) as cut:
        client.post("/v1/explain", content=iter([bytes(400)] * 3), headers=FORM)
    assert (cut.value.status_code, cut.value.headers) == (413, {"connection": "close"})
    assert client.post("/health", content=bytes(2000)).text == "2000"
    assert noted.statuses == [200, 413, 200, 500]  # without a service that answers for the error
    assert noted.counts == [1, 0, 1, 0, 1, 0]
    assert all(0 <= seconds < 60 for seconds in noted.seconds)


def test_what_is_no_form_is_refused_and_what_asks_for_nothing_is_not() -> None:
    _, noted, client = gate()
    assert client.post("/v1/explain", content=b"x").status_code == 415
    assert client.get("/v1/explain").status_code == 200
    assert client.post("/other", content=b"x").status_code == 200
    assert noted.statuses == [415, 200]


def test_as_many_are_inside_as_may_be() -> None:
    made, noted, client = gate()
    made.inside = 2
    assert client.post("/v1/explain", content=b"x", headers=FORM).status_code == 200
    made.inside = 3
    full = client.post("/v1/explain", content=b"x", headers=FORM)
    assert (full.status_code, full.headers["retry-after"]) == (503, "1")
    assert full.json()["detail"] == "too many requests wait; try again"
    assert noted.counts == [3, 2]


@pytest.mark.parametrize("path", ["/v1/explain", "/metrics", "/health", "/"])
def test_what_a_token_is_asked_for(path: str) -> None:
    _, _, client = gate(token="t")
    guarded = path in ("/v1/explain", "/metrics")
    assert client.get(path).status_code == (401 if guarded else 200)
    assert client.get(path, headers={"authorization": "Bearer u"}).status_code == (
        401 if guarded else 200
    )
    assert client.get(path, headers={"authorization": "Bearer t"}).status_code == 200
    assert gate()[2].get(path).status_code == 200


def test_browsers_are_told_to_guess_and_to_frame_nothing() -> None:
    _, _, client = gate(token="t")
    for path in ("/", "/v1/explain"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"


def test_what_is_no_request_is_passed_on() -> None:
    """A service is told when it starts, say."""
    seen: list[str] = []

    async def service(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    nothing: Any = None
    asyncio.run(Gate(service, LIMITS, "t", Noted())({"type": "lifespan"}, nothing, nothing))
    assert seen == ["lifespan"]


def test_an_answer_that_stops_halfway_is_not_answered_twice() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(60)

    late = Gate(slow, Limits(seconds=0.01), None, Noted())
    with pytest.raises(TimeoutError):
        TestClient(late).post("/v1/explain", content=b"x", headers=FORM)
    assert late.inside == 0


def test_what_a_service_fails_at_is_counted_as_the_server_answers_it(
    classifier: Classifier,
) -> None:
    def broken(saved: object, questions: object) -> list[Answer]:
        raise RuntimeError("no memory left")

    service = create_app(classifier.saved, answering=broken)
    with TestClient(service, raise_server_exceptions=False) as client:
        assert client.post("/v1/explain", files=[("files", jpeg(9, 9))]).status_code == 500
        assert 'iavit_requests_total{status="500"} 1.0' in client.get("/metrics").text


def test_limits_and_token_hold_below_another_applications_path(classifier: Classifier) -> None:
    outer = FastAPI()
    outer.mount("/explained", create_app(classifier.saved, SMALL, token="secret"))
    client = TestClient(outer)
    right = {"authorization": "Bearer secret"}
    assert client.get("/explained/health").status_code == 200
    assert client.get("/explained/metrics").status_code == 401
    assert client.get("/explained/metrics", headers=right).status_code == 200
    large = [("files", bytes(300_000))]
    assert client.post("/explained/v1/explain", files=large).status_code == 401
    assert client.post("/explained/v1/explain", files=large, headers=right).status_code == 413
