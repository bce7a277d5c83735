"""Runs one function per key: each key once at a time, again when it was added meanwhile, later when it asked or failed.

Level-triggered: a key says only "look at this again", so many adds are one run, and none is ever lost. What a run does, and
which keys there are, stays with the caller.
"""

from __future__ import annotations

import asyncio
import collections
import heapq
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

from sluice.engine import backoff, clock

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)

Run = Callable[[K], Awaitable[float | None]]
"""Reconciles a key. Returns the seconds after which to run it again anyway, or None; an exception means back-off."""


class Observer(Protocol[K_contra]):
    """Hears what the queue does: for metrics and logs. Must not block or raise."""

    def depth(self, waiting: int) -> None:
        """The number of keys that are due but not running."""

    def finished(self, key: K_contra, seconds: float, error: Exception | None) -> None:
        """A run ended; with `error` it will be retried."""


class KeyedQueue(Generic[K]):
    """A queue of keys and the workers on it. All methods belong to the event loop's thread.

    Keys may be added at any time; they run between `start` and `stop`, which may alternate (leadership comes and goes).
    """

    def __init__(
        self,
        run: Run[K],
        *,
        workers: int = 4,
        time: clock.Clock | None = None,
        retry: backoff.Backoff | None = None,
        observer: Observer[K] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._run = run
        self._workers = workers
        self._clock = time or clock.SystemClock()
        self._backoff = retry or backoff.Backoff()
        self._observer = observer
        self._chance = chance
        self._due: collections.OrderedDict[K, None] = collections.OrderedDict()
        self._running: set[K] = set()
        self._dirty: set[K] = set()
        self._later: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._failures: dict[K, int] = {}
        self._work = asyncio.Event()
        self._sooner = asyncio.Event()
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, key: K) -> None:
        """Runs the key as soon as a worker is free; if it is running now, once more after that."""
        if key in self._running:
            self._dirty.add(key)
            return
        self._due.setdefault(key)
        self._changed()

    def add_after(self, key: K, delay: float) -> None:
        """Runs the key `delay` seconds from now. Of several such wake-ups of one key the earliest is kept."""
        if delay <= 0:
            self.add(key)
            return
        at = self._clock.monotonic() + delay
        if at >= self._later.get(key, float("inf")):
            return
        self._later[key] = at
        self._sequence += 1
        heapq.heappush(self._heap, (at, self._sequence, key))
        if self._heap[0][2] == key:
            self._sooner.set()

    def forget(self, key: K) -> None:
        """Drops the key's wake-up and its count of failures: its object is gone. A run that is due still happens."""
        self._later.pop(key, None)
        self._failures.pop(key, None)

    @property
    def waiting(self) -> int:
        """Keys that are due but not running."""
        return len(self._due)

    @property
    def running(self) -> frozenset[K]:
        """Keys that run at this moment."""
        return frozenset(self._running)

    def wake_up(self, key: K) -> float | None:
        """Seconds until the key's wake-up, None when it has none."""
        at = self._later.get(key)
        return None if at is None else at - self._clock.monotonic()

    def start(self) -> None:
        """Starts the workers. Idempotent."""
        if self._tasks:
            return
        self._stopping = False
        self._tasks = [asyncio.create_task(self._worker(), name=f"queue worker {n}") for n in range(self._workers)]
        self._tasks.append(asyncio.create_task(self._timer(), name="queue timer"))

    async def stop(self, grace: float = 10.0) -> None:
        """Starts no more runs and waits for those under way, cancelling them after `grace` seconds.

        Keys that have not run, or were cancelled, stay for the next `start`. Idempotent.
        """
        self._stopping = True
        self._work.set()
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        limit = asyncio.create_task(self._clock.sleep(grace))
        drained = asyncio.gather(*tasks[:-1], return_exceptions=True)
        either: list[asyncio.Future[Any]] = [limit, drained]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (limit, *tasks):
                task.cancel()
            await asyncio.gather(limit, *tasks, return_exceptions=True)

    async def _worker(self) -> None:
        while not self._stopping:
            if not self._due:
                self._work.clear()
                await self._work.wait()
                continue
            key, _ = self._due.popitem(last=False)
            self._running.add(key)
            self._changed()
            await self._run_once(key)
            # A run with nothing to write never waits: a thousand of them in a row would keep everybody else from running.
            await asyncio.sleep(0)

    async def _run_once(self, key: K) -> None:
        """One run. Whatever becomes of it, the key ends forgotten, due, or with a wake-up: never lost."""
        started = self._clock.monotonic()
        try:
            delay = await self._run(key)
        except asyncio.CancelledError:
            self._dirty.add(key)
            raise
        except Exception as error:  # noqa: BLE001 - one key's failure is that key's, and is reported to the observer
            self._failed(key)
            self._finished(key, started, error)
        else:
            self._failures.pop(key, None)
            if delay is not None:
                self.add_after(key, delay)
            self._finished(key, started, None)
        finally:
            self._running.discard(key)
            if key in self._dirty:
                self._dirty.discard(key)
                self.add(key)

    def _failed(self, key: K) -> None:
        self._failures[key] = self._failures.get(key, 0) + 1
        self.add_after(key, self._backoff.delay(self._failures[key], self._chance()))

    def _finished(self, key: K, started: float, error: Exception | None) -> None:
        if self._observer:
            self._observer.finished(key, self._clock.monotonic() - started, error)

    def _changed(self) -> None:
        if self._due:
            self._work.set()
        if self._observer:
            self._observer.depth(len(self._due))

    async def _timer(self) -> None:
        """Moves keys whose time has come to those that are due."""
        while True:
            self._sooner.clear()
            self._collect()
            if not self._heap:
                await self._sooner.wait()
                continue
            sleep = asyncio.create_task(self._clock.sleep(self._heap[0][0] - self._clock.monotonic()))
            sooner = asyncio.create_task(self._sooner.wait())
            try:
                await asyncio.wait({sleep, sooner}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sleep, sooner):
                    task.cancel()
                await asyncio.gather(sleep, sooner, return_exceptions=True)

    def _collect(self) -> None:
        now = self._clock.monotonic()
        while self._heap:
            at, _, key = self._heap[0]
            if self._later.get(key) != at:  # an earlier wake-up took its place, or it was forgotten
                heapq.heappop(self._heap)
            elif at <= now:
                heapq.heappop(self._heap)
                del self._later[key]
                self.add(key)
            else:
                return
