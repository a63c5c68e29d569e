from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from iavit.handover.classifier import Classifier, load
from iavit.serve.app import create_app
from tests.serve.asking import SMALL


@pytest.fixture(scope="session")
def classifier(tiny_run: Path) -> Classifier:
    return load(tiny_run)


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise in colours, 47 x 31 pixels: neither square nor of the model's size."""
    pixels = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def client(classifier: Classifier) -> Iterator[TestClient]:
    with TestClient(create_app(classifier.saved)) as client:
        yield client


@pytest.fixture(scope="module")
def narrow(classifier: Classifier) -> Iterator[TestClient]:
    """Of a service with small limits."""
    with TestClient(create_app(classifier.saved, SMALL)) as client:
        yield client


@pytest.fixture
def running() -> Iterator[Callable[[FastAPI], str]]:
    """Serves applications by a real uvicorn; gives the address of each."""
    with contextlib.ExitStack() as stack:

        def run(app: FastAPI) -> str:
            return stack.enter_context(_served(app))

        yield run


@contextlib.contextmanager
def _served(app: FastAPI) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        listening.close()
