"""Requests share forward passes: whoever waits while the model is busy goes into the next one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batcher(Generic[Question, Answer]):
    """Gathers questions into batches for a function that is slow and runs in one thread.

    Nobody is made to wait for company: a lone question is asked at once. The next batch is all
    that came meanwhile, oldest first, up to `together`. A question whose asker has gone is
    dropped. Where a batch fails, each of its questions is asked alone, so that one cannot harm
    the others.

    answer: a batch to as many answers, in their order.
    """

    def __init__(
        self, answer: Callable[[Sequence[Question]], Sequence[Answer]], together: int
    ) -> None:
        self.answer = answer
        self.together = together
        self._waiting: deque[tuple[Question, asyncio.Future[Answer]]] = deque()
        self._came = asyncio.Event()

    async def ask(self, question: Question) -> Answer:
        """The answer to one question; raises what the function raised about it."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        self._came.set()
        return await future

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Questions are answered for as long as this lasts."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            while batch := self._next():
                await self._answer(batch)

    def _next(self) -> list[tuple[Question, asyncio.Future[Answer]]]:
        batch: list[tuple[Question, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self.together:
            question, future = self._waiting.popleft()
            if not future.done():  # it is, where the request was given up
                batch.append((question, future))
        return batch

    async def _answer(self, batch: Sequence[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await run_in_threadpool(self.answer, [question for question, _ in batch])
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._answer([one])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
