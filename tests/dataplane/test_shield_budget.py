"""How far stable answers for a failing canary: up to a share of its own load, and not at all where the shield is off."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import enum
import pathlib
from collections.abc import AsyncIterator

import pytest

from sluice.routing import inputs, shield
from tests.support import gateway, upstream

WEIGHT = 9999
"""As good as all requests begin at the canary."""


class Fault(enum.StrEnum):
    """How the canary fails."""

    ERROR = "500"
    LIMITED = "429"
    RESET = "reset"
    REFUSED = "refused"
    EMPTY = "empty"


SEEN = {Fault.ERROR: 500, Fault.LIMITED: 429, Fault.RESET: 503, Fault.REFUSED: 503, Fault.EMPTY: 503}
"""What a client sees of it who is not shielded."""


def given(
    stable: upstream.Upstream,
    canary: upstream.Upstream | None,
    *,
    enabled: bool = True,
    in_flight: int | None = 0,
    weight: int = WEIGHT,
) -> inputs.GatewayInputs:
    """`chat` on the canary, stable behind it."""
    split = inputs.Split(
        gateway.revision(stable, "chat-1"),
        gateway.revision(canary, "chat-2"),
        weight,
        shield=inputs.Shield(enabled),
        stable_in_flight=in_flight,
    )
    return inputs.GatewayInputs(gateway.spec(), (gateway.model("chat", split),))


@contextlib.asynccontextmanager
async def failing(
    directory: pathlib.Path, fault: Fault, *, enabled: bool = True
) -> AsyncIterator[tuple[gateway.Gateway, upstream.Upstream]]:
    """A gateway, and the stable server behind a canary with this fault."""
    async with upstream.running("stable", "canary") as (stable, canary):
        if fault is Fault.REFUSED:
            await canary.stop()
        elif fault is not Fault.EMPTY:
            canary.mode = upstream.Mode(fault)
        pods = None if fault is Fault.EMPTY else canary
        async with gateway.running(given(stable, pods, enabled=enabled), directory) as running:
            yield running, stable


@pytest.mark.parametrize("fault", Fault)
async def test_within_the_bound_no_client_sees_the_canary_fail(tmp_path: pathlib.Path, fault: Fault) -> None:
    """Even a stable without any load of its own takes over a handful at once."""
    async with failing(tmp_path, fault) as (running, stable):
        assert await running.load(100, concurrency=shield.FEWEST) == {200: 100}
    assert stable.count == 100


@pytest.mark.parametrize("fault", Fault)
async def test_beyond_the_bound_clients_see_what_the_canary_did(tmp_path: pathlib.Path, fault: Fault) -> None:
    """Stable gets so many at once and not one more; the rest get the canary's answer, and are counted as such."""
    more = 20
    async with failing(tmp_path, fault) as (running, stable):
        stable.mode = upstream.Mode.HANG
        taken_over = [asyncio.create_task(running.ask()) for _ in range(shield.FEWEST)]
        await stable.arrived(shield.FEWEST)
        assert await running.load(more, concurrency=4) == {SEEN[fault]: more}
        requests = await running.counted("envoy_sluice_requests", more)
        for task in taken_over:
            task.cancel()
        await asyncio.gather(*taken_over, return_exceptions=True)
    assert stable.count == shield.FEWEST
    assert all("UO" in dict(tags)["flags"].split(",") for tags in requests)


@pytest.mark.parametrize("fault", Fault)
async def test_without_a_shield_clients_see_what_the_canary_did(tmp_path: pathlib.Path, fault: Fault) -> None:
    """Nothing is retried: the first attempt's failure is the client's."""
    async with failing(tmp_path, fault, enabled=False) as (running, stable):
        seen = await running.load(100)
    assert seen[SEEN[fault]] + stable.count == 100
    assert stable.count <= 5
    assert seen == collections.Counter({SEEN[fault]: 100 - stable.count, 200: stable.count})


async def test_a_large_body_is_answered_by_stable_within_the_bound(tmp_path: pathlib.Path) -> None:
    """2 MiB reach stable whole."""
    async with failing(tmp_path, Fault.ERROR) as (running, stable):
        assert (await running.ask(padding="x" * (2 << 20))).status == 200
    assert stable.requests[0].size > 2 << 20


async def test_the_bound_follows_under_load_without_a_failed_request(tmp_path: pathlib.Path) -> None:
    """A changed bound is a changed cluster: it is there at once, and requests under way to the old one end as they should."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(given(stable, canary, weight=3000), tmp_path) as running,
    ):
        for mode in (upstream.Mode.OK, upstream.Mode.ERROR):
            canary.mode, canary.gap = mode, 0.02
            for in_flight in (100, 1000, 50, None, 0):
                changed = given(stable, canary, weight=3000, in_flight=in_flight)
                assert set(await running.load_while(running.publish(changed), stream=True)) == {200}
    assert canary.count > 0
