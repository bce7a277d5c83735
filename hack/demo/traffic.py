"""Open-loop OpenAI traffic through the gateway, and what the clients saw.

A request starts when its time has come, whether or not earlier ones have ended, so a slow gateway can't hide its errors.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
import time
from collections.abc import Sequence
from typing import Self

import openai


@dataclasses.dataclass(frozen=True)
class Question:
    """One item of the data set: what is asked and what a good model answers."""

    prompt: str
    reference: str


@dataclasses.dataclass(frozen=True)
class Result:
    """What one client request came to. Times are epoch seconds."""

    started: float
    seconds: float
    error: str | None
    right: bool


@dataclasses.dataclass
class Traffic:
    """Sends `rate` requests a second until stopped, at most `in_flight` at a time."""

    base_url: str
    api_key: str
    model: str
    questions: Sequence[Question]
    rate: float
    in_flight: int = 64
    results: collections.deque[Result] = dataclasses.field(default_factory=lambda: collections.deque(maxlen=200_000))
    _task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._client = openai.AsyncOpenAI(
            base_url=f"{self.base_url}/v1",
            api_key=self.api_key,
            max_retries=0,  # an error that a client's retry would hide is an error
            timeout=60,
        )
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._client.close()

    def since(self, moment: float) -> list[Result]:
        """Results of requests that started at or after `moment`."""
        return [result for result in self.results if result.started >= moment]

    async def _run(self) -> None:
        questions = itertools.cycle(self.questions)
        begun = time.monotonic()
        pending: set[asyncio.Task[None]] = set()
        try:
            for number in itertools.count():
                await asyncio.sleep(max(0.0, begun + number / self.rate - time.monotonic()))
                while len(pending) >= self.in_flight:
                    await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.create_task(self._ask(next(questions)))
                pending.add(task)
                task.add_done_callback(pending.discard)
        finally:
            # Requests under way are let through: cutting them would look like the gateway's fault.
            await asyncio.gather(*pending, return_exceptions=True)

    async def _ask(self, question: Question) -> None:
        started, clock = time.time(), time.monotonic()
        error, right = None, False
        try:
            answer = await self._client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": question.prompt}],
                temperature=0,
                max_tokens=16,
            )
            right = (answer.choices[0].message.content or "").strip() == question.reference
        except openai.APIStatusError as problem:
            error = f"{problem.status_code} {problem.message}"
        except openai.APIError as problem:
            error = f"{type(problem).__name__} {problem.message}"
        self.results.append(Result(started, time.monotonic() - clock, error, right))
