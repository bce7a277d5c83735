"""Virtual time for tests: it stands still until a test moves it, and then everything due happens in order."""

from __future__ import annotations

import asyncio
import heapq

START = 1_800_000_000.0
"""The epoch second at which every FakeClock begins."""


class FakeClock:
    """A `sluice.engine.clock.Clock` that a test drives by `advance`."""

    def __init__(self, start: float = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._sequence = 0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Waits until the test has advanced that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sequence += 1
        heapq.heappush(self._sleepers, (self._elapsed + seconds, self._sequence, future))
        await future

    async def advance(self, seconds: float) -> None:
        """Lets so many seconds pass, stopping at each sleeper on the way; returns when nothing is left to run."""
        until = self._elapsed + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, future = heapq.heappop(self._sleepers)
            if future.done():  # cancelled meanwhile
                continue
            self._elapsed = max(self._elapsed, at)
            future.set_result(None)
            await settle()
        self._elapsed = until
        await settle()


async def settle() -> None:
    """Returns once every task that can run without time or I/O has done so."""
    loop = asyncio.get_running_loop()
    # asyncio keeps the callbacks that are ready in `_ready`; while this coroutine runs, it is empty only if nobody else is.
    ready = loop._ready  # type: ignore[attr-defined]
    await asyncio.sleep(0)
    while ready:  # noqa: ASYNC110 - yields to whoever is runnable; there is nothing to be notified by
        await asyncio.sleep(0)
