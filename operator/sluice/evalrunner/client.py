"""Asks an OpenAI-compatible server for one answer at a time, with bounded patience.

What stays out: which items are asked and how answers are scored (`run`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from typing import Any, Final

import aiohttp

from sluice.evals import dataset

CHAT_PATH: Final = "/v1/chat/completions"
MODELS_PATH: Final = "/v1/models"
LONGEST_PAUSE: Final = 5.0
TEXT_MAX: Final = 200


class UnreachableError(Exception):
    """The server did not answer at all within the time it was given."""


class RequestError(Exception):
    """One request got no usable answer; the message says why."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Whom to ask, how, and how patiently. Times in seconds."""

    url: str
    """Base address such as `http://chat-1a2b.team.svc:8000`."""
    model: str
    temperature: float = 0.0
    max_tokens: int = 256
    seed: int = 1
    request_timeout: float = 60.0
    wait: float = 120.0
    """How long the server may take to answer anything at all."""
    retries: int = 3
    """Further tries after a connection error, a timeout, a 429 or a 5xx."""
    pause: float = 0.5
    """Before the first retry; doubles with each, with jitter."""


class Client:
    """One server. Use inside `async with session`."""

    def __init__(self, session: aiohttp.ClientSession, settings: Settings) -> None:
        self._session = session
        self._settings = settings
        self._base = settings.url.rstrip("/")

    async def wait_until_reachable(self) -> None:
        """Returns once the server answers with anything below 500.

        Raises:
            UnreachableError: it did not within `wait` seconds.
        """
        last = "no answer"
        try:
            async with asyncio.timeout(self._settings.wait):
                while True:
                    try:
                        await self._probe()
                        return
                    except RequestError as error:
                        last = str(error)
                    await asyncio.sleep(min(self._settings.pause, 1.0))
        except TimeoutError:
            pass
        raise UnreachableError(f"Cannot reach {self._base} within {self._settings.wait:g} s: {last}")

    async def answer(self, item: dataset.Item) -> str:
        """The model's answer to an item; an answer without text is empty.

        Raises:
            RequestError: every try failed, or the server refused the request.
        """
        for attempt in range(self._settings.retries + 1):
            try:
                return await self._ask(item)
            except RequestError as error:
                if not error.transient or attempt == self._settings.retries:
                    raise
            pause = min(self._settings.pause * 2**attempt, LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter is no secret
        raise AssertionError("the last attempt returns or raises")

    async def _probe(self) -> None:
        await self._exchange("GET", MODELS_PATH, None, accept=499)

    async def _ask(self, item: dataset.Item) -> str:
        body = {
            "model": self._settings.model,
            "messages": [{"role": message.role, "content": message.content} for message in item.messages],
            "temperature": self._settings.temperature,
            "max_tokens": self._settings.max_tokens,
            "seed": self._settings.seed,
        }
        answer = await self._exchange("POST", CHAT_PATH, body, accept=299)
        try:
            content = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise RequestError(
                f"the answer has no choices[0].message.content: {answer!s:.{TEXT_MAX}}", transient=False
            ) from error
        return content if isinstance(content, str) else ""

    async def _exchange(self, method: str, path: str, body: dict[str, Any] | None, *, accept: int) -> Any:
        """One request and its JSON (None if it is none); statuses above `accept` raise."""
        timeout = aiohttp.ClientTimeout(total=self._settings.request_timeout)
        try:
            async with self._session.request(method, self._base + path, json=body, timeout=timeout) as response:
                text = await response.text()
                if response.status > accept:
                    transient = response.status == 429 or response.status >= 500
                    raise RequestError(f"status {response.status}: {text[:TEXT_MAX]}", transient=transient)
                return await response.json(content_type=None) if body is not None else None
        except TimeoutError as error:
            raise RequestError(f"no answer within {self._settings.request_timeout:g} s", transient=True) from error
        except aiohttp.ClientError as error:
            raise RequestError(f"connection failed: {error}", transient=True) from error
        except ValueError as error:
            raise RequestError(f"the answer is not JSON: {error}", transient=False) from error
