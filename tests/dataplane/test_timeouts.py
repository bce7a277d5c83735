"""Time limits: a stream that does not begin is taken over, and silence ends it; other answers may take their time."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from sluice.routing import inputs
from tests.support import gateway, upstream

CHAIN = [{"backends": [{"type": "ModelDeployment", "modelDeployment": {"name": "chat"}}]}]


@contextlib.asynccontextmanager
async def limited(
    directory: pathlib.Path, *, canary: bool = True, **timeouts: str
) -> AsyncIterator[tuple[gateway.Gateway, upstream.Upstream, upstream.Upstream]]:
    """A gateway with a route of these limits to a model that is all on its canary, or to stable alone."""
    async with upstream.running("stable", "canary") as (stable, failing):
        route = {"name": "chat", "match": {"models": ["chat"]}, "chain": CHAIN, "timeouts": timeouts}
        both = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(failing, "chat-2"), 10_000)
        split = both if canary else inputs.Split(gateway.revision(stable, "chat-1"))
        given = inputs.GatewayInputs(gateway.spec(routes=[route]), (gateway.model("chat", split),))
        async with gateway.running(given, directory) as running:
            yield running, stable, failing


async def test_a_stream_that_does_not_begin_is_taken_over(tmp_path: pathlib.Path) -> None:
    """The canary hangs: stable answers after firstByte, and the attempt counts against the canary (UT)."""
    async with limited(tmp_path, request="60s", firstByte="200ms") as (running, stable, failing):
        failing.mode = upstream.Mode.HANG
        assert await running.load(20, stream=True) == {200: 20}
        attempts = await running.counted("envoy_sluice_attempts", 40)
    assert (stable.count, failing.count) == (20, 20)
    canaries = {(dict(tags)["code"], dict(tags)["flags"]) for tags in attempts if dict(tags)["revision"] == "prod/chat-2"}
    assert canaries == {("0", "UT")}


async def test_a_stream_that_began_is_left_alone(tmp_path: pathlib.Path) -> None:
    """However long it lasts."""
    async with limited(tmp_path, request="60s", firstByte="200ms") as (running, stable, failing):
        failing.gap = 0.3
        answer = await running.ask(stream=True)
    assert '"system_fingerprint": "canary"' in answer.text
    assert (stable.count, failing.count) == (0, 1)


@pytest.mark.parametrize("stream", [False, None])
async def test_other_answers_take_their_time(tmp_path: pathlib.Path, stream: bool | None) -> None:
    """Their first byte is their last: only the request's own limit ends them."""
    async with limited(tmp_path, request="60s", firstByte="200ms") as (running, stable, failing):
        failing.delay = 0.5
        assert (await running.ask(stream=stream)).status == 200
    assert (stable.count, failing.count) == (0, 1)


async def test_an_answer_that_never_comes_counts_against_its_revision(tmp_path: pathlib.Path) -> None:
    """An attempt ends a little before the request (UT), or it would look like a client that left; stable has what is left."""
    async with limited(tmp_path, request="2s") as (running, stable, failing):
        failing.mode = upstream.Mode.HANG
        await running.ask()
        await stable.arrived(1)
        attempts = await running.counted("envoy_sluice_attempts", 2)
    canaries = {(dict(tags)["code"], dict(tags)["flags"]) for tags in attempts if dict(tags)["revision"] == "prod/chat-2"}
    assert canaries == {("0", "UT")}


async def test_a_limit_that_is_set_holds_where_nothing_takes_over(tmp_path: pathlib.Path) -> None:
    """The client is told so in OpenAI's form, and nothing is tried again."""
    async with limited(tmp_path, canary=False, request="60s", firstByte="200ms") as (running, stable, _):
        stable.mode = upstream.Mode.HANG
        answer = await running.ask(stream=True)
    assert (answer.status, answer.body["error"]["code"]) == (504, "timeout")
    assert stable.count == 1


async def test_silence_ends_a_stream(tmp_path: pathlib.Path) -> None:
    """A stream that stops in the middle ends broken, long before the request's limit."""
    async with limited(tmp_path, request="60s", firstByte="200ms", idle="1s") as (running, stable, failing):
        failing.gap = 30.0
        with pytest.raises(aiohttp.ClientError):
            await running.ask(stream=True)
        requests = await running.counted("envoy_sluice_requests", 1)
    assert {(dict(tags)["code"], dict(tags)["flags"]) for tags in requests} == {("200", "SI")}
    assert stable.count == 0
