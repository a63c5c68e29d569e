"""Whatever is sent, it gets its status, and the next request its answer."""

from __future__ import annotations

import contextlib
import io
import resource
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from iavit.errors import UserError
from iavit.handover.classifier import Classifier
from iavit.model.weights import Saved
from iavit.serve.answers import Answer, Question, answer
from iavit.serve.app import create_app
from iavit.serve.limits import Limits

SMALL = Limits(megabytes=0.2, megapixels=0.01, files=2)


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> Iterator[TestClient]:
    with TestClient(create_app(classifier.saved, SMALL)) as client:
        yield client


def _post(client: TestClient | httpx.Client, *contents: bytes) -> tuple[int, str]:
    files = [("files", (f"{number}.jpg", content)) for number, content in enumerate(contents)]
    response = client.post("/v1/explain", files=files)
    return response.status_code, response.json().get("detail", "")


def _jpeg(width: int, height: int) -> bytes:
    with io.BytesIO() as file:
        Image.effect_noise((width, height), 60).convert("RGB").save(file, "JPEG")
        return file.getvalue()


def _bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims side * side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 422, "0.jpg is empty"),
        (b"not a picture at all", 415, "0.jpg is no image in a known format"),
        (_jpeg(90, 90)[:1500], 422, "0.jpg is damaged"),
        (_jpeg(110, 100), 413, "0.jpg has more than 10,000 pixels; scale it down first"),
        (_bomb(100_000), 413, "0.jpg has more than 10,000 pixels; scale it down first"),
        (_bomb(99), 422, "0.jpg is damaged"),
    ],
    ids=["nothing", "text", "half a file", "too many pixels", "bomb", "no pixels behind it"],
)
def test_what_is_no_picture(client: TestClient, content: bytes, status: int, words: str) -> None:
    found, detail = _post(client, content)
    assert (found, detail[: len(words)]) == (status, words)
    assert _post(client, _jpeg(40, 40))[0] == 200


def test_one_bad_picture_of_several_is_named(client: TestClient) -> None:
    assert _post(client, _jpeg(9, 9), b"text")[1].startswith("1.jpg is no image")


def test_too_many_files(client: TestClient) -> None:
    small = _jpeg(9, 9)
    assert _post(client, small, small, small) == (413, "3 pictures; send at most 2")


def test_no_form_and_no_files(client: TestClient) -> None:
    response = client.post("/v1/explain", json={"image": "photo.jpg"})
    assert (response.status_code, response.json()["detail"]) == (
        415,
        "send pictures as multipart/form-data, in the field 'files'",
    )
    assert client.post("/v1/explain", files=[("picture", b"x")]).status_code == 422


def test_a_body_too_large(client: TestClient) -> None:
    assert _post(client, bytes(300_000)) == (
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
        assert _post(client, _jpeg(40, 40))[0] == 200


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
            sending.sendall(head.encode() + _jpeg(40, 40)[:500])
    with httpx.Client(base_url=address) as client:
        assert _post(client, _jpeg(40, 40))[0] == 200
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


class _Held:
    """The real answers, which wait for `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[int] = []

    def __call__(self, saved: Saved, questions: Sequence[Question]) -> list[Answer]:
        self.go.wait(timeout=30)
        self.batches.append(len(questions))
        return answer(saved, questions)


def test_an_answer_that_is_late_is_given_up(
    classifier: Classifier, running: Callable[[FastAPI], str]
) -> None:
    held = _Held()
    app = create_app(classifier.saved, Limits(seconds=0.5), answering=held)
    with httpx.Client(base_url=running(app), timeout=30) as client:
        assert _post(client, _jpeg(40, 40)) == (504, "the answer took longer than 0.5 s")
        held.go.set()
        assert _post(client, _jpeg(40, 40))[0] == 200


def test_a_full_queue_refuses_and_who_waits_shares_a_pass(
    classifier: Classifier, running: Callable[[FastAPI], str]
) -> None:
    held = _Held()
    app = create_app(classifier.saved, Limits(queue=4), answering=held)
    address = running(app)
    found: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=address, timeout=30) as client:
            found.append(_post(client, _jpeg(40, 40))[0])

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    with httpx.Client(base_url=address) as client:
        while "iavit_requests_inside 4.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        files = [("files", ("a.jpg", _jpeg(40, 40)))]
        refused = client.post("/v1/explain", files=files)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert client.get("/health").status_code == 200  # which asks no model
        time.sleep(0.3)  # all four are decoded by now
        held.go.set()
        for asker in askers:
            asker.join()
        assert found == [200] * 4
        assert sum(held.batches) == 4
        assert len(held.batches) == 2  # the first went alone, the others together
        text = client.get("/metrics").text
    assert 'iavit_requests_total{status="200"} 4.0' in text
    assert 'iavit_requests_total{status="503"} 1.0' in text
    assert "iavit_batch_images_sum 4.0" in text


def test_one_request_that_fails_does_not_take_others_along(classifier: Classifier) -> None:
    def choosy(saved: Saved, questions: Sequence[Question]) -> list[Answer]:
        if any(question.target == 3 for question in questions):
            raise UserError("no threes today")
        return answer(saved, questions)

    with TestClient(create_app(classifier.saved, answering=choosy)) as client:
        files = [("files", ("a.jpg", _jpeg(40, 40)))]
        refused = client.post("/v1/explain", files=files, data={"target": "3"})
        assert (refused.status_code, refused.json()["detail"]) == (422, "no threes today")
        assert client.post("/v1/explain", files=files, data={"target": "4"}).status_code == 200


def test_the_token(classifier: Classifier) -> None:
    with TestClient(create_app(classifier.saved, token="secret")) as client:
        files = [("files", ("a.jpg", _jpeg(40, 40)))]
        for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "secrét"}):
            sent = {name.encode(): value.encode() for name, value in headers.items()}
            refused = client.post("/v1/explain", files=files, headers=sent)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert client.get("/metrics").status_code == 401
        assert client.get("/health").status_code == 200
        right = {"authorization": "Bearer secret"}
        assert client.post("/v1/explain", files=files, headers=right).status_code == 200


@pytest.mark.parametrize("name", ["megabytes", "seconds", "queue", "together"])
def test_a_limit_of_nothing(name: str) -> None:
    with pytest.raises(UserError, match=f"`{name}` is 0; it must be above 0"):
        Limits(**{name: 0})


def test_names_of_files_are_told_in_one_line(client: TestClient) -> None:
    files = [("files", ("a\r\nb.jpg", b"x"))]
    detail = client.post("/v1/explain", files=files).json()["detail"]
    assert "\n" not in detail
    assert Path(detail).name  # and it is told
