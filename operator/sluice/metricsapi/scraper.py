"""Reads every ready vLLM pod at its own pace: a pod that hangs costs its own reading and nobody else's.

One task per pod; the pods are those of the cache, which others keep equal to the cluster.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

import aiohttp

from sluice.engine import clock as clock_
from sluice.kube import cache as kube_cache
from sluice.kube import resources
from sluice.metricsapi import numbers as numbers_
from sluice.metricsapi import pages, readings, targets
from sluice.observability import logs
from sluice.sources import vllm

TIMEOUT_SECONDS: Final = 5.0
CONCURRENCY: Final = 128
"""So many readings at once: with 1,000 pods that all hang, each is still tried every 40 s."""
JITTER: Final = 0.1
"""By up to this part a pause is shortened at random, so that pods of one rollout are not read in one burst for ever."""
_SETTLE_SECONDS: Final = 0.2

_log = logs.get(__name__)


class Scraper:
    """Keeps `store` fed from the pods in `cache`. `run` it as a task; `interval` is in seconds."""

    def __init__(
        self,
        cache: kube_cache.Cache,
        store: readings.Readings,
        *,
        clock: clock_.Clock,
        numbers: numbers_.Numbers,
        interval: float,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._cache = cache
        self._store = store
        self._clock = clock
        self._numbers = numbers
        self._interval = interval
        self._chance = chance
        self._tasks: dict[targets.Target, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self.started = False
        """Whether the pods that exist are known, so that `store` tells what is missing."""
        cache.subscribe(self._on_change)

    async def run(self) -> None:
        """Reads until cancelled. A bug in a reading ends it: a replica that only seems to work is worse than none."""
        # Engines close idle connections after seconds: one kept for the next reading would fail in a race.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            while not self._cache.complete(resources.PODS):
                await self._clock.sleep(0.05)
            while True:
                self._changed.clear()
                self._follow_all(group, session)
                self.started = True
                await self._changed.wait()
                await self._clock.sleep(_SETTLE_SECONDS)

    def refresh_numbers(self) -> None:
        """Brings the gauges up to date."""
        self._numbers.pods.set(len(self._tasks))
        self._numbers.stale.set(self._store.stale(self._clock.monotonic()))

    def _on_change(self, resource: resources.Resource, _: object, __: object) -> None:
        if resource is resources.PODS:
            self._changed.set()

    def _follow_all(self, group: asyncio.TaskGroup, session: aiohttp.ClientSession) -> None:
        """One task for each pod that is to be read, none for others."""
        found = (targets.target_of(pod) for pod in self._cache.list(resources.PODS))
        wanted = {target for target in found if target is not None}
        for target in self._tasks.keys() - wanted:
            self._tasks.pop(target).cancel()
            self._store.remove(target)
        for target in wanted:
            if target in self._tasks:
                self._store.relabel(target)
            else:
                self._store.add(target, self._clock.monotonic(), initial=not self.started)
                self._tasks[target] = group.create_task(self._follow(target, session), name=f"read {target}")

    async def _follow(self, target: targets.Target, session: aiohttp.ClientSession) -> None:
        failing = False
        while True:
            begun = self._clock.monotonic()
            try:
                async with self._slots:
                    await self._read(target, session)
                if failing:
                    _log.info("reading the pod again", pod=str(target))
                failing = False
            except vllm.ScrapeError as error:
                self._store.failed(target, str(error))
                self._numbers.scrapes.labels("error").inc()
                if not failing:
                    _log.warning("cannot read the pod's metrics", pod=str(target), url=target.url, cause=str(error))
                failing = True
            pause = self._interval * (1.0 - JITTER * self._chance())
            await self._clock.sleep(begun + pause - self._clock.monotonic())

    async def _read(self, target: targets.Target, session: aiohttp.ClientSession) -> None:
        with self._numbers.scrape_seconds.time():
            text = await vllm.fetch(session, target.url, seconds=TIMEOUT_SECONDS)
        try:
            page = vllm.parse(text, pages.NEEDED)
        except vllm.PageError as error:
            raise vllm.ScrapeError(str(error)) from error
        self._store.succeeded(target, page, self._clock.monotonic())
        self._numbers.scrapes.labels("ok").inc()
