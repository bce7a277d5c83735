"""Keeps the response headers of a stream until its first event: `vllm serve … --middleware hold_headers.HoldHeaders`.

vLLM answers 200 as soon as a streaming request is accepted, so that what goes wrong before the first token comes too late for
a router: it can neither try another pod nor time out. With this, headers mean that the first token is there, and a stream that
begins with an error is answered by that error's status and JSON body. Comments before the first event, which
--sse-keep-alive-interval sends, wait with the headers.

Runs inside the engine's API process, mounted from the revision's files. Standard library only, Python 3.9 or newer. Answers
that are no event streams pass untouched, and so does everything after a stream's first event.
"""

from __future__ import annotations

import json
from typing import Any, Awaitable, Callable, MutableMapping  # noqa: UP035 - Python 3.9 subscribes these only

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

EVENT_STREAM = b"text/event-stream"
ERROR_EVENT = b'data: {"error"'
END_OF_EVENT = b"\n\n"
LONGEST = 1 << 16
"""Bytes to wait for the end of comments and of an error event; what is longer goes out as it came."""


class HoldHeaders:
    """ASGI middleware. Cancellation and disconnects reach the application as without it."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._app(scope, receive, _Held(send))
        else:
            await self._app(scope, receive, send)


class _Held:
    """`send` of one request. An application that fails before its first event has sent nothing, and gets its 500."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if self._replaced:
            return  # what follows the error, such as [DONE], has no place in its JSON body
        if message["type"] == "http.response.start" and _is_stream(message):
            self._start = message
            return
        if self._start is None:
            await self._send(message)
            return
        await self._first(self._start, message)

    async def _first(self, start: Message, message: Message) -> None:
        """Decide by the first bytes; as long as they can still become an error event, wait for more."""
        is_last = message["type"] != "http.response.body" or not message.get("more_body", False)
        self._body += message.get("body", b"")
        if not is_last and _is_undecided(self._body):
            return
        self._start = None
        error = read_error(self._body)
        if error is not None:
            self._replaced = True
            status, body = error
            await self._send({**start, "status": status, "headers": _json_headers(start["headers"], len(body))})
            await self._send({"type": "http.response.body", "body": body})
            return
        await self._send(start)
        if message["type"] == "http.response.body":
            message = {**message, "body": self._body}
        await self._send(message)


def _is_stream(start: Message) -> bool:
    types = [value for name, value in start.get("headers", ()) if name.lower() == b"content-type"]
    return start["status"] == 200 and any(value.lower().startswith(EVENT_STREAM) for value in types)


def _without_comments(body: bytes) -> bytes:
    """Return what follows the comments that a stream begins with; nothing while the last of them has not ended."""
    while body.startswith(b":"):
        body = body.partition(END_OF_EVENT)[2]
    return body


def _is_undecided(body: bytes) -> bool:
    if len(body) >= LONGEST:
        return False
    event = _without_comments(body)
    if len(event) < len(ERROR_EVENT):
        return ERROR_EVENT.startswith(event)  # nothing at all too
    return event.startswith(ERROR_EVENT) and END_OF_EVENT not in event


def read_error(body: bytes) -> tuple[int, bytes] | None:
    """Return status and JSON body of the error that a stream begins with; None when it begins with something else."""
    event = _without_comments(body)
    if not event.startswith(ERROR_EVENT):
        return None
    error = event[len(b"data: ") :].partition(END_OF_EVENT)[0]
    try:
        status = int(json.loads(error)["error"].get("code") or 500)
    except (ValueError, TypeError, AttributeError):
        return None
    return (status, error) if 400 <= status < 600 else None


def _json_headers(headers: Any, length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() not in (b"content-type", b"content-length")]
    return [*kept, (b"content-type", b"application/json"), (b"content-length", b"%d" % length)]
