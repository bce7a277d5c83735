"""Latencies of attempts, as Envoy's histograms have them: to the first byte, of whole answers, and by exact bounds."""

from __future__ import annotations

import asyncio
import contextlib
import math
import pathlib

import aiohttp
import pytest

from sluice.api import evalgate, naming, rollout_status
from sluice.gates import grid, readings
from sluice.reconcile import evidence
from sluice.rollout import plan
from sluice.routing import inputs
from sluice.sources import envoy as source
from tests.support import gateway, upstream

CANARY = "prod/chat-2"


def split(stable: upstream.Upstream, canary: upstream.Upstream, weight: int) -> inputs.GatewayInputs:
    """`chat` divided between two servers."""
    both = inputs.Split(gateway.revision(stable, "chat-1"), gateway.revision(canary, "chat-2"), weight)
    return inputs.GatewayInputs(gateway.spec(), (gateway.model("chat", both),))


async def read(running: gateway.Gateway, attempts: int, *, whole: int, streams: int) -> source.Page:
    """The page once it has so many attempts on the canary and samples in its histograms: they show with the next flush."""
    async with asyncio.timeout(10):
        while True:
            page = source.parse(await running.envoy.get(f"/stats/prometheus?filter={source.filter_for({CANARY})}"))
            found = [readings.total(bins(page, measure)) for measure in (readings.Measure.DURATION, readings.Measure.TTFT)]
            if sum(page.series.values()) >= attempts and found == [whole, streams]:
                return page
            await asyncio.sleep(0.1)


def bins(page: source.Page, measure: readings.Measure) -> readings.Bins:
    """The canary's."""
    return readings.merged(
        known
        for key, known in page.histograms.items()
        if source.parse_histogram(key).measure is measure and source.parse_histogram(key).revision == CANARY
    )


async def in_flight(running: gateway.Gateway) -> int:
    """Requests that the canary has not answered."""
    page = source.parse(await running.envoy.get(f"/stats/prometheus?filter={source.filter_for({CANARY})}"))
    return page.active[CANARY]


async def drained(running: gateway.Gateway) -> bool:
    """Waits until nothing is in flight."""
    async with asyncio.timeout(10):
        while True:
            if await in_flight(running) == 0:
                return True
            await asyncio.sleep(0.05)


async def test_a_stream_is_timed_to_its_first_byte_and_to_its_end(tmp_path: pathlib.Path) -> None:
    """Headers come at once, the body later: the first byte counts, and only of streams; the end counts of all."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(split(stable, canary, 10_000), tmp_path) as running,
    ):
        canary.first, canary.gap = 0.3, 0.2
        await running.ask(stream=True)
        canary.first = canary.gap = 0.0
        canary.delay = 0.3
        await running.ask()
        page = await read(running, 2, whole=2, streams=1)
    first, whole = (bins(page, measure) for measure in (readings.Measure.TTFT, readings.Measure.DURATION))
    assert readings.at_least(first, 250) == 1
    assert readings.at_least(first, 800) == 0
    assert readings.at_least(whole, 250) == 2
    assert readings.at_least(whole, 800) == 1


async def test_what_failed_is_no_latency(tmp_path: pathlib.Path) -> None:
    """Errors, resets, streams that break and clients that leave: only a whole answer has a duration."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(split(stable, canary, 10_000), tmp_path) as running,
    ):
        for mode in upstream.Mode.ERROR, upstream.Mode.RESET, upstream.Mode.LIMITED:
            canary.mode = mode
            await running.load(5)
            await running.load(5, stream=True)
        canary.mode = upstream.Mode.BREAK
        with contextlib.suppress(aiohttp.ClientError):
            await running.ask(stream=True)
        canary.mode, canary.gap = upstream.Mode.OK, 30.0
        await running.leave_stream()
        canary.gap = 0.0
        await running.load(4)
        page = await read(running, 36, whole=4, streams=2)
    assert sum(page.series.values()) == 36


async def test_a_proxy_counts_by_our_bounds_and_says_what_is_in_flight(tmp_path: pathlib.Path) -> None:
    """The real page is read whole, with the revision's gauge; other revisions are not even written."""
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(split(stable, canary, 5_000), tmp_path) as running,
    ):
        await running.load(40)
        assert canary.count > 0
        page = await read(running, canary.count, whole=canary.count, streams=0)
        assert {source.parse_key(key).revision for key in page.series} == {CANARY}
        assert {source.parse_histogram(key).revision for key in page.histograms} == {CANARY}
        assert page.active == {CANARY: 0}
        assert all(bound == math.inf or bound in grid.BOUNDS for bound in bins(page, readings.Measure.DURATION))
        canary.mode = stable.mode = upstream.Mode.HANG
        await running.publish(split(stable, canary, 10_000))
        before = canary.count
        asking = [asyncio.create_task(running.ask()) for _ in range(30)]
        await canary.arrived(before + 30)
        assert await in_flight(running) == 30
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        assert await drained(running)


GATE = {"name": "first-token", "signal": {"type": "TTFT"}, "regression": {"ratio": "100%"}}
HALF = plan.StepPlan("half", 5000, 0.0, ("slo",))


@pytest.mark.parametrize(("slower", "expected"), [(0.2, rollout_status.Verdict.FAIL), (0.0, None)])
async def test_a_gate_tells_a_slow_revision_from_an_equal_one(
    tmp_path: pathlib.Path, slower: float, expected: rollout_status.Verdict | None
) -> None:
    """From requests through Envoy's histograms to the verdict: first tokens that come 200 ms later, or no later."""
    gate = evalgate.EvalGateSpec.model_validate({"metrics": [GATE]})
    frozen = plan.Plan((HALF,), 3600.0, (), {"slo": gate}, {}, 0.01, first=False)
    key = naming.ObjectKey("ModelDeployment", "prod", "chat")
    family = evidence.Book().open(key, revision="2", stable="1", plan=frozen, persisted=None)
    async with (
        upstream.running("stable", "canary") as (stable, canary),
        gateway.running(split(stable, canary, 5_000), tmp_path) as running,
    ):
        stable.first, canary.first = 0.02, 0.02 + slower
        for second in range(40):
            await running.load(48, stream=True)
            text = await running.envoy.get(f"/stats/prometheus?filter={source.filter_for(family.clusters)}")
            page = source.parse(text)
            reading = source.Reading(1e9 + second, page.uptime or 0, page.series, page.histograms)
            family.observe({"proxy": reading}, seconds=1, settling=False)
            (status,) = family.statuses(has_baseline=True)
            if status.verdict is expected or (expected is None and status.n > 300):
                break
    assert status.n > 0
    assert (status.verdict is rollout_status.Verdict.FAIL) == (expected is rollout_status.Verdict.FAIL), status
    assert family.median_latency < 1
