"""Keeps the cache equal to the cluster, by lists of our own and kopf's watch.

kopf watches, with reconnects, and we use its `on.event` and nothing else: its other handlers write to users' objects. What it
lists first, and again whenever its watch breaks, it takes only the version from (see `kopf_thread`); each time we list
the resource ourselves, which also tells what was deleted meanwhile. kopf ends for good on some errors: we start it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from sluice.api import naming
from sluice.engine import backoff
from sluice.kube import cache, client, errors, resources
from sluice.observability import logs
from sluice.watches import kopf_thread

_log = logs.get(__name__)


_OURS: Final = f"{naming.LABEL_MANAGED_BY}={naming.MANAGED_BY}"

WATCHED: Final = (
    kopf_thread.Watched(resources.MODEL_DEPLOYMENTS),
    kopf_thread.Watched(resources.GATEWAYS),
    kopf_thread.Watched(resources.RATE_LIMIT_POLICIES),
    kopf_thread.Watched(resources.EVAL_GATES),
    kopf_thread.Watched(resources.NAMESPACES),
    # Only Secrets that say what they are: the users' API keys, and those that we make.
    kopf_thread.Watched(resources.SECRETS, naming.LABEL_SECRET_TYPE),
    kopf_thread.Watched(resources.DEPLOYMENTS, _OURS),
    kopf_thread.Watched(resources.CONTROLLER_REVISIONS, _OURS),
    kopf_thread.Watched(resources.HORIZONTAL_POD_AUTOSCALERS, _OURS),
    kopf_thread.Watched(resources.POD_DISRUPTION_BUDGETS, _OURS),
    kopf_thread.Watched(resources.NETWORK_POLICIES, _OURS),
    kopf_thread.Watched(resources.JOBS, _OURS),
    kopf_thread.Watched(resources.SERVICES, _OURS),
    kopf_thread.Watched(resources.CONFIG_MAPS, _OURS),
    kopf_thread.Watched(resources.PODS, _OURS),
    kopf_thread.Watched(resources.ENDPOINT_SLICES, _OURS),
)

SWEEP_SECONDS: Final = 60.0
"""Between lists for no reason, in case the watch ever misses something."""
SWEEP_SECONDS_PER_OBJECT: Final = 0.6
"""At least, so that sweeping costs the same however many objects there are: a thousand are swept every 10 minutes."""
_AT_ONCE: Final = 3
"""Lists under way at a time: all of them together would be in memory together."""
_SETTLE_SECONDS: Final = 0.5
"""From a list of kopf's to our own, so that its lists of several namespaces make one."""
_STEADY_SECONDS: Final = 60.0
"""A kopf that ran that long has recovered: its next end starts the back-off anew."""


def sweep_period(least: float, objects: int) -> float:
    """Seconds between two lists of a resource of which so many objects are known."""
    return max(least, SWEEP_SECONDS_PER_OBJECT * objects)


class Watches:
    """Fills a cache. `run` it as a task in the cache's event loop.

    `namespaces` restricts it to these ones; empty means all.
    """

    def __init__(
        self,
        api: client.Client,
        store: cache.Cache,
        *,
        watched: Sequence[kopf_thread.Watched] = WATCHED,
        namespaces: Collection[str] = (),
        sweep: float = SWEEP_SECONDS,
        retry: backoff.Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._api = api
        self._store = store
        self._watched = tuple(watched)
        self._namespaces = tuple(sorted(namespaces))
        self._sweep = sweep
        self._retry = retry or backoff.Backoff(first=1.0, longest=30.0)
        self._chance = chance
        self._suspects = {item: asyncio.Event() for item in watched}
        self._usable: dict[kopf_thread.Watched, bool] = {}
        self._usable_changed = asyncio.Event()
        self._lists = asyncio.Semaphore(_AT_ONCE)

    @property
    def missing(self) -> list[str]:
        """The resources that have not been taken in completely yet."""
        return [str(item.resource) for item in self._watched if not self._store.complete(item.resource)]

    async def run(self) -> None:
        """Lists and watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            for item in self._watched:
                group.create_task(self._keep_listing(item), name=f"list {item.resource}")
            group.create_task(self._keep_watching(), name="watch")

    async def _keep_listing(self, item: kopf_thread.Watched) -> None:
        """Lists one resource again and again, one list at a time: the cache relies on their order."""
        failures = 0
        suspect = self._suspects[item]
        while True:
            try:
                await self._list(item)
                failures = 0
            except errors.ApiError as error:
                failures += 1
                if failures == 1:
                    _log.warning("list failed", resource=str(item.resource), cause=str(error))
                if isinstance(error, errors.NotFound | errors.Forbidden):
                    self._set_usable(item, usable=False)
                await asyncio.sleep(self._retry.delay(failures, self._chance()))
                continue
            try:
                # A little apart, so that the lists of all resources do not come together each time.
                period = sweep_period(self._sweep, self._store.count(item.resource))
                await asyncio.wait_for(suspect.wait(), period * (1.0 - 0.2 * self._chance()))
                await asyncio.sleep(_SETTLE_SECONDS)
            except TimeoutError:
                pass
            suspect.clear()

    async def _list(self, item: kopf_thread.Watched) -> None:
        namespaces = self._namespaces if item.resource.namespaced and self._namespaces else ("",)
        for namespace in namespaces:
            async with self._lists:
                listing = await self._api.list(item.resource, namespace, labels=item.labels, limit=kopf_thread.PAGE)
                evicted = self._store.replace(item.resource, listing.items, listing.resource_version, namespace)
            if evicted and self._store.complete(item.resource):
                _log.info("evicted what the watch had not told of", resource=str(item.resource), count=len(evicted))
        self._store.mark_complete(item.resource)
        self._set_usable(item, usable=True)

    def _set_usable(self, item: kopf_thread.Watched, *, usable: bool) -> None:
        """Notes whether the resource can be watched: one that is missing or forbidden would end kopf for all."""
        if self._usable.get(item) is not usable:
            self._usable[item] = usable
            self._usable_changed.set()

    async def _keep_watching(self) -> None:
        """Runs kopf on what can be watched, again whenever it ends or that changes."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            while len(self._usable) < len(self._watched):
                self._usable_changed.clear()
                await self._usable_changed.wait()
            self._usable_changed.clear()
            usable = [item for item in self._watched if self._usable[item]]
            started = loop.time()
            cause = await self._watch_once(usable)
            if cause is None:
                continue
            failures = 1 if loop.time() - started > _STEADY_SECONDS else failures + 1
            _log.warning("watch ended, starting it again", cause=cause)
            await asyncio.sleep(self._retry.delay(failures, self._chance()))

    async def _watch_once(self, usable: Sequence[kopf_thread.Watched]) -> str | None:
        """Runs kopf until it ends, and tells why; None when it was stopped because the resources changed."""
        loop = asyncio.get_running_loop()
        deliver, suspect = _crossing(loop, self._take), _crossing(loop, self._suspect)
        thread = kopf_thread.KopfThread(self._api, usable, self._namespaces, deliver, suspect)
        changed = asyncio.create_task(self._usable_changed.wait())
        try:
            either: list[asyncio.Future[Any]] = [thread.ended, changed]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return thread.ended.result() if thread.ended.done() else None
        finally:
            changed.cancel()
            await thread.stop()

    def _suspect(self, item: kopf_thread.Watched) -> None:
        """kopf has listed the resource: from that version on it watches, and what was before is for us to find out."""
        self._suspects[item].set()

    def _take(self, item: kopf_thread.Watched, kind: str, obj: kopf_thread.Object) -> None:
        """Takes in an event, in our own thread."""
        if kind == "DELETED":
            self._store.remove(item.resource, obj)
            return
        self._store.put(item.resource, obj)


def _crossing(loop: asyncio.AbstractEventLoop, function: Callable[..., None]) -> Callable[..., None]:
    """The function for kopf's thread: it is called in our loop."""

    def call(*arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # our loop is closed: the process ends
            loop.call_soon_threadsafe(function, *arguments)

    return call
