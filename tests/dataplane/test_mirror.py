"""A canary that gets copies of requests: they count apart, and nothing that becomes of them is seen by any client."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import pathlib
from collections.abc import AsyncIterator

import pytest

from sluice.routing import inputs, ir
from tests.support import gateway, upstream

ATTEMPTS = "envoy_sluice_attempts"
SHADOW = "prod/chat-2/shadow"
ALL = 10_000


def given(stable: upstream.Upstream, canary: upstream.Upstream | None, mirror: int, **spec: object) -> inputs.GatewayInputs:
    """`chat` on stable, with a share of copies for the canary."""
    split = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(canary, "chat-2"), mirror=mirror)
    return inputs.GatewayInputs(gateway.spec(**spec), (gateway.model("chat", split),))


@contextlib.asynccontextmanager
async def mirroring(
    directory: pathlib.Path, mirror: int = ALL
) -> AsyncIterator[tuple[gateway.Gateway, upstream.Upstream, upstream.Upstream]]:
    """A gateway whose model is served by stable, and copied to a canary."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(given(stable, canary, mirror), directory) as running,
    ):
        yield running, stable, canary


async def counted(running: gateway.Gateway, revision: str, total: int) -> dict[tuple[str, str, str], int]:
    """Attempts of one revision by route, code and flags, once there are `total`."""
    async with asyncio.timeout(10):
        while True:
            found: collections.Counter[tuple[str, str, str]] = collections.Counter()
            for tags, count in (await running.envoy.counters(ATTEMPTS)).items():
                labels = dict(tags)
                if labels["revision"] == revision:
                    found[labels["route"], labels["code"], labels["flags"]] += int(count)
            if found.total() >= total:
                return dict(found)
            await asyncio.sleep(0.1)


async def test_every_request_is_copied_whole_and_counted_apart(tmp_path: pathlib.Path) -> None:
    """The copy has the same body, without who calls or with which key; it counts for the shadow alone."""
    async with mirroring(tmp_path) as (running, stable, canary):
        assert await running.load(50) == {200: 50}
        assert await running.load(50, stream=True) == {200: 50}
        assert (await running.ask(padding="x" * (2 << 20), key="sk-secret")).status == 200
        await canary.arrived(101)
        copies = await counted(running, SHADOW, 101)
        own = await counted(running, "prod/chat-1", 101)
        assert {dict(tags)["revision"] for tags in await running.envoy.counters(ATTEMPTS)} == {"prod/chat-1", SHADOW}
    assert copies == {("", "200", "-"): 101}
    assert own == {("prod/chat", "200", "-"): 101}
    assert stable.count == canary.count == 101
    last = canary.requests[-1]
    assert last.size > 2 << 20
    assert last.body == stable.requests[-1].body
    assert last.headers["host"] == stable.requests[-1].headers["host"]
    assert not {"authorization", "x-sluice-client", "x-sluice-model"} & last.headers.keys()


async def test_a_share_of_the_requests_is_copied(tmp_path: pathlib.Path) -> None:
    """5 % of 4,000 is 200; ten standard deviations on either side are 138."""
    async with mirroring(tmp_path, mirror=500) as (running, stable, canary):
        assert await running.load(4000) == {200: 4000}
    assert stable.count == 4000
    assert 62 <= canary.count <= 338


async def test_a_share_below_one_percent_reaches_envoy_exactly(tmp_path: pathlib.Path) -> None:
    """0.5 % is 5,000 of a million, not rounded to a percent."""
    async with mirroring(tmp_path, mirror=50) as (running, _, _):
        dump = await running.envoy.get("/config_dump?mask=dynamic_route_configs")
    assert '"numerator": 5000' in dump
    assert '"denominator": "MILLION"' in dump


@pytest.mark.parametrize("mode", [upstream.Mode.ERROR, upstream.Mode.RESET, upstream.Mode.LIMITED, upstream.Mode.HANG])
async def test_no_client_sees_what_becomes_of_copies(tmp_path: pathlib.Path, mode: upstream.Mode) -> None:
    """A canary that fails, resets, refuses or hangs changes no answer, and no retry of any request goes to it."""
    async with mirroring(tmp_path) as (running, stable, canary):
        canary.mode = mode
        assert await running.load(200) == {200: 200}
        await canary.arrived(200)
    assert (stable.count, canary.count) == (200, 200)


async def test_a_canary_that_is_gone_changes_no_answer(tmp_path: pathlib.Path) -> None:
    """Its process refuses connections: copies fail by themselves."""
    async with mirroring(tmp_path) as (running, stable, canary):
        await canary.stop()
        assert await running.load(200) == {200: 200}
        assert set(await counted(running, SHADOW, 200)) <= {("", "0", "UF"), ("", "0", "UC")}
    assert stable.count == 200


async def test_clients_do_not_wait_for_a_slow_canary(tmp_path: pathlib.Path) -> None:
    """Answers come while every copy of them is still under way."""
    async with mirroring(tmp_path) as (running, _, canary):
        canary.delay = 30.0
        assert await running.load(100) == {200: 100}
        await canary.arrived(100)
        assert not canary.outcomes


async def test_copies_beyond_the_bound_are_dropped(tmp_path: pathlib.Path) -> None:
    """A canary that hangs holds a bounded number of copies; the rest fail in the proxy, marked, and clients see nothing."""
    more = 40
    async with mirroring(tmp_path) as (running, stable, canary):
        canary.mode = upstream.Mode.HANG
        assert await running.load(ir.SHADOW_REQUESTS + more) == {200: ir.SHADOW_REQUESTS + more}
        dropped = await counted(running, SHADOW, more)
    assert stable.count == ir.SHADOW_REQUESTS + more
    assert canary.count == ir.SHADOW_REQUESTS
    assert dropped == {("", "0", "UO"): more}


async def test_a_copy_that_hangs_ends_with_the_requests_time(tmp_path: pathlib.Path) -> None:
    """It is counted without a status or a flag then. Nothing else ends a copy so: no client that leaves can end one."""
    chain = [{"backends": [{"type": "ModelDeployment", "modelDeployment": {"name": "chat"}}]}]
    route = {"name": "chat", "match": {"models": ["chat"]}, "chain": chain, "timeouts": {"request": "1s"}}
    async with upstream.running("stable", "canary") as (stable, canary):
        canary.mode = upstream.Mode.HANG
        async with gateway.running(given(stable, canary, ALL, routes=[route]), tmp_path) as running:
            assert await running.load(10) == {200: 10}
            assert await running.load(10, stream=True) == {200: 10}
            assert await counted(running, SHADOW, 20) == {("", "0", "-"): 20}
    assert canary.outcomes == {"cancelled": 20}


async def test_a_client_that_leaves_does_not_end_the_copy(tmp_path: pathlib.Path) -> None:
    """The copy runs to its end and costs what it costs, as the docs say."""
    async with mirroring(tmp_path) as (running, stable, canary):
        stable.delay = canary.delay = 0.5
        leaving = asyncio.create_task(running.ask())
        await stable.arrived(1)
        await canary.arrived(1)
        leaving.cancel()
        assert set(await counted(running, SHADOW, 1)) == {("", "200", "-")}
    assert canary.outcomes == {"200": 1}
    assert stable.outcomes == {"cancelled": 1}


async def test_failed_requests_are_copied_once(tmp_path: pathlib.Path) -> None:
    """In a chain the next backend's attempt is not copied again."""
    async with upstream.running("stable", "canary", "backup") as (stable, canary, backup):
        stable.mode = upstream.Mode.ERROR
        chain = [
            {"backends": [{"type": "ModelDeployment", "modelDeployment": {"name": "chat"}}]},
            {"backends": [{"type": "Provider", "provider": {"name": "backup"}}]},
        ]
        provider = {"name": "backup", "type": "OpenAICompatible", "url": f"http://127.0.0.1:{backup.port}"}
        route = {"name": "chained", "match": {"models": ["chat"]}, "chain": chain}
        chained = given(stable, canary, ALL, routes=[route], providers=[provider])
        async with gateway.running(chained, tmp_path) as running:
            assert await running.load(40) == {200: 40}
            await canary.arrived(40)
            assert await counted(running, SHADOW, 40) == {("", "200", "-"): 40}
    assert (stable.count, canary.count, backup.count) == (40, 40, 40)


async def test_mirrors_come_and_go_and_follow_the_pods_under_load(tmp_path: pathlib.Path) -> None:
    """Copies start, move to another pod, lose every pod, and end: no client sees any of it."""
    async with (
        upstream.running("stable", "one", "two") as (stable, one, two),
        gateway.running(given(stable, None, 0), tmp_path) as running,
    ):
        for canary, mirror in ((one, ALL), (two, ALL), (None, ALL), (one, 5000), (one, 0)):
            seen = canary.count if canary is not None else 0
            step = given(stable, canary, mirror)
            assert set(await running.load_while(running.publish(step))) == {200}
            if canary is not None and mirror == ALL:
                await canary.arrived(seen + 1)
        quiet = one.count
        assert await running.load(50) == {200: 50}
        assert one.count == quiet
