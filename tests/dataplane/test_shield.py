"""A canary that fails is not seen by any client: stable answers instead, under load too."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import AsyncIterator

import pytest

from sluice.routing import inputs
from tests.support import gateway, upstream

WEIGHT = 3000
REQUESTS = 600
CONCURRENCY = 48
"""With answers that take 0.2 s: some 200 requests a second, of which a dozen are in retry at once. Envoy's default allows 3."""


@contextlib.asynccontextmanager
async def canary(
    directory: pathlib.Path, *, weight: int = WEIGHT, pods: bool = True
) -> AsyncIterator[tuple[gateway.Gateway, upstream.Upstream, upstream.Upstream]]:
    """A gateway whose model is split between a stable and a canary server."""
    async with upstream.running("stable", "canary") as (stable, failing):
        stable.delay = 0.2
        split = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(failing if pods else None, "chat-2"), weight)
        given = inputs.GatewayInputs(gateway.spec(), (gateway.model("chat", split),))
        async with gateway.running(given, directory) as running:
            yield running, stable, failing


@pytest.mark.parametrize("mode", [upstream.Mode.ERROR, upstream.Mode.RESET, upstream.Mode.LIMITED, upstream.Mode.OK])
async def test_no_client_sees_the_canary_fail(tmp_path: pathlib.Path, mode: upstream.Mode) -> None:
    """500, reset and 429 of the canary are answered by stable, each and every one, with many requests in flight."""
    async with canary(tmp_path) as (running, stable, failing):
        failing.mode = mode
        assert await running.load(REQUESTS, concurrency=CONCURRENCY) == {200: REQUESTS}
    assert failing.count > REQUESTS * WEIGHT / 10_000 / 2
    assert stable.count == (REQUESTS - failing.count if mode is upstream.Mode.OK else REQUESTS)


async def test_a_canary_that_refuses_connections_is_not_seen(tmp_path: pathlib.Path) -> None:
    """Its process is gone but its address is still listed: stable answers."""
    async with canary(tmp_path) as (running, stable, failing):
        await failing.stop()
        assert await running.load(REQUESTS, concurrency=CONCURRENCY) == {200: REQUESTS}
    assert stable.count == REQUESTS


async def test_a_canary_without_pods_is_not_seen(tmp_path: pathlib.Path) -> None:
    """All its pods are gone while it still has weight: attempts fail at once on the placeholder, and stable answers."""
    async with canary(tmp_path, pods=False) as (running, stable, _):
        assert await running.load(REQUESTS, concurrency=CONCURRENCY) == {200: REQUESTS}
        samples = await running.counted("envoy_sluice_attempts", REQUESTS)
    assert stable.count == REQUESTS
    marked = {(dict(tags)["revision"], dict(tags)["placeholder"], dict(tags)["flags"]) for tags in samples}
    assert marked == {("prod/chat-1", "", "-"), ("prod/chat-2", "yes", "UF")}


async def test_pods_that_come_and_go_are_not_seen(tmp_path: pathlib.Path) -> None:
    """The canary's endpoints are emptied and filled under load: no client sees it."""
    async with canary(tmp_path) as (running, stable, failing):
        stable.delay = 0.0
        for server in (None, failing) * 5:
            split = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(server, "chat-2"), WEIGHT)
            given = inputs.GatewayInputs(gateway.spec(), (gateway.model("chat", split),))
            assert set(await running.load_while(running.publish(given))) == {200}


@pytest.mark.parametrize("mode", [upstream.Mode.ERROR, upstream.Mode.RESET])
async def test_all_traffic_on_a_failing_canary_is_not_seen(tmp_path: pathlib.Path, mode: upstream.Mode) -> None:
    """While it is promoted the canary has all traffic, and stable still shields it."""
    async with canary(tmp_path, weight=10_000) as (running, stable, failing):
        failing.mode = mode
        assert await running.load(REQUESTS, concurrency=CONCURRENCY) == {200: REQUESTS}
    assert (stable.count, failing.count) == (REQUESTS, REQUESTS)


async def test_a_large_body_is_retried(tmp_path: pathlib.Path) -> None:
    """2 MiB are kept for the retry and reach stable whole."""
    async with canary(tmp_path, weight=10_000) as (running, stable, failing):
        failing.mode = upstream.Mode.ERROR
        assert (await running.ask(padding="x" * (2 << 20))).status == 200
    assert stable.requests[0].body == failing.requests[0].body
    assert stable.requests[0].size > 2 << 20


async def test_failures_of_stable_are_not_doubled(tmp_path: pathlib.Path) -> None:
    """Where only stable is left to try, its failures reach the client at once: retries would double the load of what fails."""
    async with canary(tmp_path) as (running, stable, failing):
        stable.mode, stable.delay = upstream.Mode.ERROR, 0.0
        seen = await running.load(300)
        attempts = await running.counted("envoy_sluice_attempts", 300)
    assert seen == {500: 300 - failing.count, 200: failing.count}
    assert stable.count == 300 - failing.count
    assert {(dict(tags)["code"], dict(tags)["flags"]) for tags in attempts if dict(tags)["revision"] == "prod/chat-1"} == {
        ("500", "-")
    }


async def test_a_stream_of_the_canary_that_failed_before_its_start_comes_from_stable(tmp_path: pathlib.Path) -> None:
    """A stream is shielded like any other answer until its headers."""
    async with canary(tmp_path, weight=10_000) as (running, _, failing):
        failing.mode = upstream.Mode.ERROR
        answer = await running.ask(stream=True)
    assert answer.status == 200
    assert '"system_fingerprint": "stable"' in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
