"""A fake OpenAI-compatible server that fails on demand and remembers what reached it.

It stands for a vLLM pod or a provider in tests of the data plane. It knows nothing of Envoy or Kubernetes.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import enum
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from tests.support import ports

_CHUNK = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "x"}}]}


class Mode(enum.StrEnum):
    """What the server does with a request."""

    OK = "ok"
    """A completion, as JSON or as a stream if the body asks for one."""
    ERROR = "500"
    """500 with an OpenAI error body."""
    LIMITED = "429"
    """429 with an OpenAI error body."""
    RESET = "reset"
    """The connection is reset after the request was read."""
    HANG = "hang"
    """No answer until the client gives up."""
    BREAK = "break"
    """A stream that is reset after its first chunk; other requests as OK."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    """Parsed JSON; None without a body or when it is none."""
    size: int
    """Length of the body in bytes."""


class Upstream:
    """One server on a loopback port. `mode`, `delay` and `chunks` may be changed at any time."""

    def __init__(self, name: str, port: int | None = None) -> None:
        self.name = name
        self.port = port or ports.free()
        self.mode = Mode.OK
        self.delay = 0.0
        """Seconds before the response's headers."""
        self.first = 0.0
        """Seconds between the headers of a stream and its first chunk."""
        self.gap = 0.0
        """Seconds between the chunks of a stream."""
        self.chunks = 3
        self.requests: list[Request] = []
        self.outcomes: collections.Counter[str] = collections.Counter()
        """How requests ended: a status code, `reset`, `broken` or `cancelled` (the caller went away)."""
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def arrived(self, count: int) -> None:
        """Waits until so many requests have arrived."""
        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(lambda: self.count >= count)

    @property
    def count(self) -> int:
        """Requests that arrived."""
        return len(self.requests)

    async def start(self) -> None:
        """Listens. May follow a `stop`, on the same port."""
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True, backlog=1024).start()
        self._runner = runner

    async def stop(self) -> None:
        """Closes every connection; from here on connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def forget(self) -> None:
        """Drops what was remembered."""
        self.requests.clear()
        self.outcomes.clear()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        headers = {key.lower(): value for key, value in request.headers.items()}
        self.requests.append(Request(request.method, request.path, headers, body, len(raw)))
        async with self._arrived:
            self._arrived.notify_all()
        try:
            return await self._answer(request, body if isinstance(body, dict) else {})
        except (asyncio.CancelledError, ConnectionError):
            self.outcomes["cancelled"] += 1
            raise

    async def _answer(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        if self.delay:
            await asyncio.sleep(self.delay)
        match self.mode:
            case Mode.HANG:
                await asyncio.Event().wait()
            case Mode.RESET:
                self.outcomes["reset"] += 1
                _abort(request)
                return web.Response()
            case Mode.ERROR | Mode.LIMITED:
                return self._error(int(self.mode))
        if body.get("stream") is True:
            return await self._stream(request, body)
        self.outcomes["200"] += 1
        message = {"role": "assistant", "content": self.name}
        return web.json_response({**self._head(body, "chat.completion"), "choices": [{"index": 0, "message": message}]})

    def _error(self, status: int) -> web.Response:
        self.outcomes[str(status)] += 1
        return web.json_response({"error": {"message": f"{self.name} fails", "type": "server_error"}}, status=status)

    def _head(self, body: Mapping[str, Any], kind: str) -> dict[str, Any]:
        usage = {"prompt_tokens": 7, "completion_tokens": self.chunks, "total_tokens": 7 + self.chunks}
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": body.get("model"), "usage": usage}

    async def _stream(self, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        if self.first:
            await asyncio.sleep(self.first)
        for index in range(self.chunks):
            if self.mode is Mode.BREAK and index == 1:
                self.outcomes["broken"] += 1
                _abort(request)
                return response
            await response.write(_event({**_CHUNK, "model": body.get("model"), "system_fingerprint": self.name}))
            if self.gap:
                await asyncio.sleep(self.gap)
        await response.write(_event(self._head(body, "chat.completion.chunk") | {"choices": []}) + b"data: [DONE]\n\n")
        await response.write_eof()
        self.outcomes["200"] += 1
        return response


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


@contextlib.asynccontextmanager
async def running(*names: str) -> AsyncIterator[tuple[Upstream, ...]]:
    """Servers of these names, listening, for the length of the block."""
    upstreams = tuple(Upstream(name) for name in names)
    try:
        for upstream in upstreams:
            await upstream.start()
        yield upstreams
    finally:
        for upstream in upstreams:
            await upstream.stop()
