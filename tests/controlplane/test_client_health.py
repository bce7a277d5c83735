"""Health, readiness and metrics as a kubelet and a Prometheus see them, over HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from sluice.observability import http, metrics, watchdog


class World:
    """A server, and what it reports on."""

    def __init__(self, *, limit: float = 60.0) -> None:
        self.missing: list[str] = []
        self.numbers = metrics.Metrics()
        self.bitten = threading.Event()
        self.dog = watchdog.Watchdog(limit=limit, bite=self.bitten.set)
        self.server = http.Server("127.0.0.1", 0, numbers=self.numbers, missing=lambda: self.missing, dog=self.dog)

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.server.port}{path}") as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.server.start()
    yield made
    await made.server.stop()


async def test_a_replica_is_ready_once_nothing_is_missing(world: World) -> None:
    """Until then it says what it waits for."""
    world.missing = ["pods", "gateways.sluice.dev"]
    assert await world.get("/readyz") == (503, "waiting for: pods, gateways.sluice.dev\n")
    world.missing = []
    assert await world.get("/readyz") == (200, "ok\n")


async def test_metrics_are_served_as_prometheus_wants_them(world: World) -> None:
    """Including the process's own."""
    world.numbers.set_role(leader=True, protect_only=False)
    status, page = await world.get("/metrics")
    assert status == 200
    assert "sluice_leader 1.0" in page
    assert "process_resident_memory_bytes" in page


async def test_a_turning_loop_is_healthy_and_is_not_bitten() -> None:
    """However busy, as long as it beats."""
    made = World(limit=0.5)
    await made.server.start()
    task = asyncio.create_task(made.dog.run())
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        assert await made.get("/healthz") == (200, "ok\n")
    assert not made.bitten.is_set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await made.server.stop()


async def test_a_stuck_loop_is_bitten() -> None:
    """From a thread, for nothing in the loop could; in production this ends the process."""
    made = World(limit=0.2)
    task = asyncio.create_task(made.dog.run())
    await asyncio.sleep(0.05)
    bitten = await asyncio.get_running_loop().run_in_executor(None, made.bitten.wait, 0.4)
    assert not bitten, "the loop turned"
    assert made.bitten.wait(5), "this wait blocks the loop"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
