"""Requests that share a forward pass, and do not harm each other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import httpx
from fastapi import FastAPI
from fastapi.testclient import TestClient

from iavit.errors import UserError
from iavit.handover.classifier import Classifier
from iavit.model.weights import Saved
from iavit.serve.answers import Answer, Question, answer
from iavit.serve.app import create_app
from iavit.serve.batching import Batcher
from iavit.serve.limits import Limits
from tests.serve.asking import Held, jpeg, post


def test_a_full_queue_refuses_and_who_waits_shares_a_pass(
    classifier: Classifier, running: Callable[[FastAPI], str]
) -> None:
    held = Held()
    app = create_app(classifier.saved, Limits(queue=4), answering=held)
    address = running(app)
    found: list[int] = []

    def ask() -> None:
        with httpx.Client(base_url=address, timeout=30) as client:
            found.append(post(client, jpeg(40, 40))[0])

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    with httpx.Client(base_url=address) as client:
        while "iavit_requests_inside 4.0" not in client.get("/metrics").text:
            time.sleep(0.01)
        files = [("files", ("a.jpg", jpeg(40, 40)))]
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
        files = [("files", ("a.jpg", jpeg(40, 40)))]
        refused = client.post("/v1/explain", files=files, data={"target": "3"})
        assert (refused.status_code, refused.json()["detail"]) == (422, "no threes today")
        assert client.post("/v1/explain", files=files, data={"target": "4"}).status_code == 200


def test_a_batch_is_what_came_meanwhile_oldest_first_and_not_more_than_it_may_be() -> None:
    batches: list[list[int]] = []
    begun, go = threading.Event(), threading.Event()

    def squares(numbers: Sequence[int]) -> list[int]:
        batches.append(list(numbers))
        begun.set()
        go.wait(timeout=30)
        return [number**2 for number in numbers]

    async def asked() -> list[int]:
        batcher = Batcher(squares, together=3)
        async with batcher.running():
            first = asyncio.create_task(batcher.ask(7))
            while not begun.is_set():
                await asyncio.sleep(0.001)
            others = [asyncio.create_task(batcher.ask(number)) for number in (5, 4, 3, 2, 1)]
            await asyncio.sleep(0)
            others[1].cancel()  # who has gone is asked for nothing
            go.set()
            answers = await asyncio.gather(first, *others, return_exceptions=True)
            return [answer for answer in answers if isinstance(answer, int)]

    assert asyncio.run(asyncio.wait_for(asked(), timeout=60)) == [49, 25, 9, 4, 1]
    assert batches == [[7], [5, 3, 2], [1]]
