"""Reads many proxies, or engines, at a time: one that hangs costs its own reading and nobody else's.

What is read, when, and what is done with it is others' business.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Generic, Protocol, TypeVar

from sluice.sources import envoy, vllm

CONCURRENCY: Final = 32
_log = logging.getLogger(__name__)


class Named(Protocol):
    """What can be read."""

    @property
    def name(self) -> str:
        """The same for as long as it exists."""
        ...


T = TypeVar("T", bound=Named)
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Target:
    """A proxy to be read."""

    proxy: str
    """Its name, the same for as long as it exists."""
    gateway: tuple[str, str]
    address: str
    port: int
    revisions: frozenset[str] = frozenset()
    """Cluster names that the reading may be limited to; none: no limit."""

    @property
    def name(self) -> str:
        """The proxy's."""
        return self.proxy


class Poller(Generic[T, R]):
    """Reads all targets once a round. `read` may raise the errors of a source; a round takes `budget` seconds at most."""

    def __init__(self, read: Callable[[T], Awaitable[R]], *, concurrency: int = CONCURRENCY, budget: float = 1.0) -> None:
        self._read = read
        self._slots = asyncio.Semaphore(concurrency)
        self._budget = budget
        self._failing: set[str] = set()

    async def round(self, targets: Iterable[T]) -> dict[str, R | None]:
        """One reading of each target, by name; None where there was none in time."""
        tasks = {target: asyncio.create_task(self._one(target)) for target in targets}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=self._budget)
        late = [task for task in tasks.values() if task.cancel()]
        if late:
            await asyncio.wait(late)
        readings = {target.name: None if task.cancelled() else task.result() for target, task in tasks.items()}
        self._note({name for name, reading in readings.items() if reading is None})
        return readings

    async def _one(self, target: T) -> R | None:
        async with self._slots:
            try:
                return await self._read(target)
            except (envoy.ScrapeError, vllm.ScrapeError) as error:
                if target.name not in self._failing:
                    _log.warning("%s", error)
                return None

    def _note(self, failed: set[str]) -> None:
        for name in sorted(self._failing - failed):
            _log.info("Reading the counters of %s again", name)
        self._failing = failed
