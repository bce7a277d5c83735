"""With HoldHeaders the status of a stream is that of its first event, and nothing else changes."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.workloads.engine_files import hold_headers

STREAM = [(b"Content-Type", b"text/event-stream; charset=utf-8"), (b"x-request-id", b"1")]
TOKEN = b'data: {"choices":[]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error": {"message": "EngineCore is dead", "type": "InternalServerError", "param": null, "code": 500}}\n\n'

Message = dict[str, Any]


def start(status: int = 200, headers: Sequence[tuple[bytes, bytes]] = STREAM) -> Message:
    """Headers of an answer."""
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content: bytes, *, more: bool = True) -> Message:
    """A part of an answer."""
    return {"type": "http.response.body", "body": content, "more_body": more}


async def receive() -> Message:
    """A client that is gone."""
    return {"type": "http.disconnect"}


async def run(messages: Sequence[Message]) -> list[Message]:
    """What the client gets of what the application sends."""
    sent: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    async def send(message: Any) -> None:
        sent.append(message)

    await hold_headers.HoldHeaders(app)({"type": "http"}, receive, send)
    return sent


def content(messages: Sequence[Message]) -> bytes:
    """The body of an answer."""
    return b"".join(message.get("body", b"") for message in messages)


async def test_headers_wait_for_the_first_event() -> None:
    """Until then a router sees nothing, and may try another pod; afterwards events go out as they come."""
    sent: list[Message] = []
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in (start(), body(b""), body(TOKEN), body(TOKEN), body(b"", more=False)):
            await send(message)
            seen.append(len(sent))

    async def send(message: Any) -> None:
        sent.append(message)

    await hold_headers.HoldHeaders(app)({"type": "http"}, receive, send)
    assert seen == [0, 0, 2, 3, 4]
    assert sent[0] == start()
    assert content(sent) == TOKEN + TOKEN


async def test_first_error_becomes_the_status() -> None:
    """The client of a stream gets what it would have got without streaming: status and JSON body, and no [DONE]."""
    first, *rest = await run([start(), body(ERROR), body(DONE), body(b"", more=False)])
    headers = dict(first["headers"])
    assert first["status"] == 500
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"x-request-id"] == b"1"
    assert int(headers[b"content-length"]) == len(content(rest))
    assert json.loads(content(rest))["error"]["message"] == "EngineCore is dead"
    assert not rest[-1].get("more_body", False)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([start(headers=[(b"content-type", b"application/json")]), body(b"{}", more=False)], "no stream"),
        ([start(headers=[(b"content-type", b"text/plain")]), body(ERROR, more=False)], "no stream, whatever it says"),
        ([start(503), body(ERROR, more=False)], "an error already"),
        ([start(), body(TOKEN), body(ERROR), body(DONE, more=False)], "an error after the first token"),
        ([start(), body(b'data: {"error"x\n\n'), body(b"", more=False)], "no JSON"),
        ([start(), body(b'data: {"error":{"code":200}}\n\n'), body(b"", more=False)], "a status that is no error's"),
        ([start(), body(b'data: {"error":"why"}\n\n'), body(b"", more=False)], "an error of another shape"),
        ([start(), body(b": ping\n\n"), body(TOKEN, more=False)], "a comment first"),
        ([start(), body(b": ping"), body(b"", more=False)], "a comment that does not end"),
        ([start(), body(b"", more=False)], "an empty stream"),
        ([start(), {"type": "http.response.trailers", "headers": []}], "trailers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_everything_else_is_what_it_was(messages: list[Message], reason: str) -> None:
    """Status, headers and bytes of all other answers are those of the application."""
    sent = await run(messages)
    assert sent[0] == messages[0], reason
    assert content(sent) == content(messages), reason
    assert sent[-1].get("more_body", False) is False


@given(st.lists(st.integers(0, len(ERROR)), max_size=5))
def test_an_error_in_pieces_is_an_error(cuts: list[int]) -> None:
    """However the event is cut into messages."""
    edges = [0, *sorted(cuts), len(ERROR)]
    pieces = [ERROR[left:right] for left, right in itertools.pairwise(edges)]
    sent = asyncio.run(run([start(), *map(body, pieces), body(DONE), body(b"", more=False)]))
    assert sent[0]["status"] == 500
    assert content(sent) == ERROR.removeprefix(b"data: ").strip()


@given(st.lists(st.binary(max_size=30), max_size=6))
def test_no_byte_of_a_stream_is_lost(pieces: list[bytes]) -> None:
    """Whatever a stream consists of, it arrives whole and in order."""
    sent = asyncio.run(run([start(), *map(body, pieces), body(b"", more=False)]))
    assert sent[0] == start()
    assert content(sent) == b"".join(pieces)


async def test_comments_wait_with_the_headers() -> None:
    """They keep a connection alive, and are no first token: an error after them still becomes the status."""
    sent = await run(
        [start(), body(b": keep-alive\n\n"), body(b": keep"), body(b"-alive\n\n"), body(ERROR), body(DONE, more=False)]
    )
    assert sent[0]["status"] == 500
    assert content(sent) == ERROR.removeprefix(b"data: ").strip()


async def test_endless_error_is_not_held_for_ever() -> None:
    """What does not end goes out as it came."""
    endless = hold_headers.ERROR_EVENT + b"x" * hold_headers.LONGEST
    sent = await run([start(), body(endless), body(b"", more=False)])
    assert sent[0] == start()
    assert content(sent) == endless


async def test_failure_before_the_first_event_reaches_the_server() -> None:
    """The application's exception passes with no header sent, so that the server can answer 500."""
    sent: list[Message] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        raise RuntimeError("broken")

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(RuntimeError):
        await hold_headers.HoldHeaders(app)({"type": "http"}, receive, send)
    assert sent == []


async def test_disconnect_reaches_the_application() -> None:
    """Generation stops when the client goes, also while the headers are held."""
    noticed = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        noticed.append((await receive())["type"])

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await hold_headers.HoldHeaders(app)({"type": "http"}, receive, send)
    assert noticed == ["http.disconnect"]


async def test_other_scopes_pass() -> None:
    """Lifespan and web sockets are none of its business."""
    scopes = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append((scope["type"], send))

    async def send(message: Any) -> None:
        raise AssertionError(message)

    for kind in ("lifespan", "websocket"):
        await hold_headers.HoldHeaders(app)({"type": kind}, receive, send)
    assert scopes == [("lifespan", send), ("websocket", send)]
