"""One completion of an engine: what is asked, and which failures are final. A fake engine stands in for vLLM."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import test_utils, web

from sluice.sources import completions


@contextlib.asynccontextmanager
async def engine(status: int, asked: list[bytes]) -> AsyncIterator[tuple[aiohttp.ClientSession, int]]:
    """A session, and the port of an engine that answers with this status."""

    async def handle(request: web.Request) -> web.Response:
        asked.append(await request.read())
        return web.json_response({"error": {"message": "said so"}}, status=status)

    app = web.Application()
    app.router.add_post(completions.PATH, handle)
    async with test_utils.TestServer(app) as server, aiohttp.ClientSession() as session:
        assert server.port is not None
        yield session, server.port


async def test_a_few_tokens_of_the_served_name_are_asked_for() -> None:
    """Any answer of 200 will do."""
    asked: list[bytes] = []
    async with engine(200, asked) as (session, port):
        await completions.complete(session, "127.0.0.1", port, "chat", "1 is")
    assert [json.loads(body) for body in asked] == [{"model": "chat", "prompt": "1 is", "max_tokens": 8, "temperature": 0}]


@pytest.mark.parametrize(
    ("status", "final"), [(400, True), (401, True), (404, True), (408, False), (429, False), (500, False), (503, False)]
)
async def test_an_error_says_whether_to_ask_again(status: int, final: bool) -> None:
    """A refused request would be refused again; an engine that is busy or broken may recover."""
    async with engine(status, []) as (session, port):
        with pytest.raises(completions.CompletionError, match=f"it answered {status}: .*said so") as raised:
            await completions.complete(session, "127.0.0.1", port, "chat", "1 is")
    assert raised.value.final is final


async def test_an_engine_that_is_not_there_may_come() -> None:
    """A refused connection is no final answer."""
    async with engine(200, []) as (session, port):
        pass
    async with aiohttp.ClientSession() as session:
        with pytest.raises(completions.CompletionError, match="no answer") as raised:
            await completions.complete(session, "127.0.0.1", port, "chat", "1 is")
    assert not raised.value.final
