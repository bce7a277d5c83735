"""How long a weight takes: from its write until all traffic of a real Envoy has moved.

The write is a stage of its own. `write_to_ads` gives the weight to the ADS server; a stage that writes the status of a
ModelDeployment on a real API server, with an operator behind it, measures the same from further away.

All traffic has moved when a request has ended that began after the write, was answered by the new revision, and after
which none began that was not. So the time includes one whole request, and is what a client could notice at worst.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import aiohttp

from sluice.routing import inputs
from sluice.xds import server
from tests.support import fleet, gateway, ports, upstream

CHANGES: Final = 50
GOAL_P99_MS: Final = 250.0
_CLIENTS: Final = 4
_QUIET: Final = 40
"""So many answers in a row of the new revision, on all connections together, end a change."""

Write = Callable[[int], Awaitable[None]]
"""Brings the canary's weight (basis points) into the world; returns when it is written, not when it is in force."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """One request: when it began and ended (`time.perf_counter`), how, and who answered."""

    began: float
    ended: float
    status: int
    name: str


async def run(directory: pathlib.Path) -> Mapping[str, Any]:
    """The benchmark with the ADS server as its first stage."""
    certificates, port = fleet.Certificates(), ports.free()
    async with upstream.running("stable", "canary") as (stable, canary), fleet.operator(certificates) as (ads, xds):
        write = write_to_ads(ads, port, directory, stable, canary)
        await write(0)
        async with fleet.proxy(directory / "proxy", certificates.gateway(), xds):
            return {"first_stage": "AdsServer.set_resources", **await measure(port, write)}


def write_to_ads(
    ads: server.AdsServer, port: int, directory: pathlib.Path, stable: upstream.Upstream, canary: upstream.Upstream
) -> Write:
    """The stage that begins at the ADS server; translation included."""

    async def write(weight: int) -> None:
        given = inputs.Split(gateway.revision(stable, "stable"), gateway.revision(canary, "canary"), weight)
        ads.set_resources(fleet.EDGE, fleet.resources(port, given, directory=directory))

    return write


async def measure(port: int, write: Write, *, changes: int = CHANGES) -> dict[str, Any]:
    """Turns all traffic over `changes` times; p50 and p99 of the times in milliseconds, and the requests that failed."""
    traffic = _Traffic(port)
    times = []
    async with traffic:
        await traffic.moved("stable", time.perf_counter())
        for change in range(changes):
            weight, name = (0, "stable") if change % 2 else (10_000, "canary")
            written = time.perf_counter()
            await write(weight)
            times.append(1000 * await traffic.moved(name, written))
    times.sort()
    return {
        "p50_ms": round(percentile(times, 50), 2),
        "p99_ms": round(percentile(times, 99), 2),
        "max_ms": round(times[-1], 2),
        "goal_p99_ms": GOAL_P99_MS,
        "changes": changes,
        "requests": traffic.requests,
        "failed": traffic.failed,
    }


def percentile(ordered: list[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    return ordered[max(0, -(-int(percent * len(ordered)) // 100) - 1)]


class _Traffic:
    """Clients that ask without pause."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self.requests = self.failed = 0

    async def __aenter__(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(_CLIENTS)]

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def moved(self, name: str, since: float) -> float:
        """Seconds from `since` until the end of the first request from which on `name` answers everything."""
        last_old, new = since, list[Answer]()
        while len(new) < _QUIET:
            answer = await self._answers.get()
            self.requests += 1
            self.failed += answer.status != 200
            if answer.name == name:
                new.append(answer)
            else:
                last_old = max(last_old, answer.began)
            new = [each for each in new if each.began > last_old]
        return min(new, key=lambda each: each.began).ended - since

    async def _ask(self) -> None:
        while True:
            began = time.perf_counter()
            status, name = await fleet.ask(self._session, self._port)
            self._answers.put_nowait(Answer(began, time.perf_counter(), status, name))
