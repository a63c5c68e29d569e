"""Pictures for the service, and small limits for it."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from fastapi.testclient import TestClient
from PIL import Image

from iavit.model.weights import Saved
from iavit.serve.answers import Answer, Question, answer
from iavit.serve.limits import Limits

SMALL = Limits(megabytes=0.2, megapixels=0.01, files=2)


def post(client: TestClient | httpx.Client, *contents: bytes) -> tuple[int, str]:
    files = [("files", (f"{number}.jpg", content)) for number, content in enumerate(contents)]
    response = client.post("/v1/explain", files=files)
    return response.status_code, response.json().get("detail", "")


def jpeg(width: int, height: int) -> bytes:
    with io.BytesIO() as file:
        Image.effect_noise((width, height), 60).convert("RGB").save(file, "JPEG")
        return file.getvalue()


class Held:
    """The real answers, which wait for `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[int] = []

    def __call__(self, saved: Saved, questions: Sequence[Question]) -> list[Answer]:
        self.go.wait(timeout=30)
        self.batches.append(len(questions))
        return answer(saved, questions)


def explain(client: TestClient, *photos: Path, **options: str) -> list[dict[str, Any]]:
    files = [("files", (photo.name, photo.read_bytes())) for photo in photos]
    response = client.post("/v1/explain", files=files, data=options)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results
