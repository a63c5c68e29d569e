"""Who may come in, how much, and for how long."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
from fastapi import FastAPI
from fastapi.testclient import TestClient

from iavit.handover.classifier import Classifier
from iavit.serve.app import create_app
from iavit.serve.limits import Limits
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
