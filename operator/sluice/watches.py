"""Keeps the cache equal to the cluster: the only importer of kopf.

kopf does list and watch with reconnects, in a thread and event loop of its own, because it ends whatever else runs in its loop;
its events cross over to ours. We use its `on.event` and nothing else: its other handlers write to users' objects.

kopf does not tell what was deleted while it had to list again, and ends for good on some errors. So we list each resource
ourselves, at the start, whenever kopf seems to have listed again, and from time to time, and evict what is gone; and we start
kopf again whenever it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import random
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

import kopf

from sluice.api import naming
from sluice.engine import backoff
from sluice.kube import cache, client, connection, errors, resources
from sluice.observability import logs

_log = logs.get(__name__)


@dataclasses.dataclass(frozen=True)
class Watched:
    """A resource, and the label selector that the API server applies ("" is everything)."""

    resource: resources.Resource
    labels: str = ""


_OURS: Final = f"{naming.LABEL_MANAGED_BY}={naming.MANAGED_BY}"

WATCHED: Final = (
    Watched(resources.MODEL_DEPLOYMENTS),
    Watched(resources.GATEWAYS),
    Watched(resources.RATE_LIMIT_POLICIES),
    Watched(resources.EVAL_GATES),
    Watched(resources.NAMESPACES),
    # Only Secrets that say what they are: the users' API keys, and those that we make.
    Watched(resources.SECRETS, naming.LABEL_SECRET_TYPE),
    Watched(resources.DEPLOYMENTS, _OURS),
    Watched(resources.CONTROLLER_REVISIONS, _OURS),
    Watched(resources.HORIZONTAL_POD_AUTOSCALERS, _OURS),
    Watched(resources.POD_DISRUPTION_BUDGETS, _OURS),
    Watched(resources.NETWORK_POLICIES, _OURS),
    Watched(resources.JOBS, _OURS),
    Watched(resources.SERVICES, _OURS),
    Watched(resources.CONFIG_MAPS, _OURS),
    Watched(resources.PODS, _OURS),
    Watched(resources.ENDPOINT_SLICES, _OURS),
)

PAGE: Final = 250
SWEEP_SECONDS: Final = 60.0
SWEEP_SECONDS_PER_OBJECT: Final = 0.6
"""At least, so that sweeping costs the same however many objects there are: a thousand are swept every 10 minutes."""
_SETTLE_SECONDS: Final = 0.5
"""From a suspicion to the list that clears it up, so that the many events of one re-list make one list."""
_STEADY_SECONDS: Final = 60.0
"""A kopf that ran that long has recovered: its next end starts the back-off anew."""
_OVERLAP_SECONDS: Final = 5.0
_JOIN_SECONDS: Final = 15.0

Object = dict[str, Any]
Deliver = Callable[[Watched, str | None, Object], None]
"""Told of an event, in kopf's thread: ADDED, MODIFIED, DELETED, or None for an object of a list."""


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
        watched: Sequence[Watched] = WATCHED,
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
        self._usable: dict[Watched, bool] = {}
        self._usable_changed = asyncio.Event()
        self._one_list = asyncio.Semaphore(3)
        self._is_young = False
        """Whether kopf has just begun, so that all will be listed soon."""

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

    async def _keep_listing(self, item: Watched) -> None:
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

    async def _list(self, item: Watched) -> None:
        namespaces = self._namespaces if item.resource.namespaced and self._namespaces else ("",)
        for namespace in namespaces:
            async with self._one_list:
                listing = await self._api.list(item.resource, namespace, labels=item.labels, limit=PAGE)
                evicted = self._store.replace(item.resource, listing.items, listing.resource_version, namespace)
            if evicted and self._store.complete(item.resource):
                _log.info("evicted what the watch had not told of", resource=str(item.resource), count=len(evicted))
        self._store.mark_complete(item.resource)
        self._set_usable(item, usable=True)

    def _set_usable(self, item: Watched, *, usable: bool) -> None:
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
            self._suspect_all()
            if cause is None:
                continue
            failures = 1 if loop.time() - started > _STEADY_SECONDS else failures + 1
            _log.warning("watch ended, starting it again", cause=cause)
            await asyncio.sleep(self._retry.delay(failures, self._chance()))

    async def _watch_once(self, usable: Sequence[Watched]) -> str | None:
        """Runs kopf until it ends, and tells why; None when it was stopped because the resources changed."""
        loop = asyncio.get_running_loop()
        thread = _KopfThread(self._api, usable, self._namespaces, functools.partial(self._cross, loop))
        changed = asyncio.create_task(self._usable_changed.wait())
        # What is deleted between our first list and kopf's is told by neither. Until then kopf's own first list is no news.
        self._is_young = True
        again = loop.call_later(_OVERLAP_SECONDS, self._grow_up)
        try:
            either: list[asyncio.Future[Any]] = [thread.ended, changed]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return thread.ended.result() if thread.ended.done() else None
        finally:
            again.cancel()
            self._is_young = False
            changed.cancel()
            await thread.stop()

    def _cross(self, loop: asyncio.AbstractEventLoop, item: Watched, kind: str | None, obj: Object) -> None:
        """Hands an event from kopf's thread to ours."""
        with contextlib.suppress(RuntimeError):  # our loop is closed: the process ends
            loop.call_soon_threadsafe(self._take, item, kind, obj)

    def _grow_up(self) -> None:
        self._is_young = False
        self._suspect_all()

    def _suspect_all(self) -> None:
        for suspect in self._suspects.values():
            suspect.set()

    def _take(self, item: Watched, kind: str | None, obj: Object) -> None:
        """Takes in an event, in our own thread."""
        if kind == "DELETED":
            self._store.remove(item.resource, obj)
            return
        self._store.put(item.resource, obj)
        if kind is None and not self._is_young:
            self._suspects[item].set()


class _KopfThread:
    """One life of kopf, in a thread of its own. `ended` gets the reason when it ends by itself."""

    def __init__(self, api: client.Client, usable: Sequence[Watched], namespaces: Sequence[str], deliver: Deliver) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self.ended: asyncio.Future[str] = self._loop.create_future()

        def unless_stopped(item: Watched, kind: str | None, obj: Object) -> None:
            if not self._stop.is_set():
                deliver(item, kind, obj)

        registry = build_registry(usable, unless_stopped, functools.partial(connection.credentials, api.configuration))
        self._thread = threading.Thread(target=self._run, args=(registry, build_settings(usable), namespaces), name="kopf")
        self._thread.daemon = True
        self._thread.start()

    def _run(self, registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings, namespaces: Sequence[str]) -> None:
        async def operate() -> None:
            try:
                await kopf.operator(
                    registry=registry,
                    settings=settings,
                    clusterwide=not namespaces,
                    namespaces=namespaces,
                    standalone=True,
                    stop_flag=self._stop,
                )
            finally:
                # One of kopf's own threads waits for this flag, and the loop's end waits for that thread.
                self._stop.set()

        try:
            asyncio.run(operate())
            cause = "it returned"
        except BaseException as error:  # noqa: BLE001 - whatever ends kopf, the supervisor decides
            cause = f"{type(error).__name__}: {error}"
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end, cause)

    def _end(self, cause: str) -> None:
        if not self.ended.done():
            self.ended.set_result(cause)

    async def stop(self) -> None:
        """Stops kopf and waits for its thread, not for ever."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)
        if self._thread.is_alive():
            _log.error("kopf's thread did not end", seconds=_JOIN_SECONDS)


def build_registry(
    usable: Sequence[Watched], deliver: Deliver, login: Callable[[], Awaitable[connection.Credentials]]
) -> kopf.OperatorRegistry:
    """kopf's handlers: one `on.event` per resource, and how to log in.

    Every handler names its group and version: without, kopf scans all API groups, and one that is unavailable stops its start.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry, id="credentials")
    async def _login(**_: Any) -> kopf.ConnectionInfo:
        known = await login()
        return kopf.ConnectionInfo(
            server=known.server,
            ca_path=known.ca_path,
            insecure=known.insecure,
            scheme="Bearer" if known.token else None,
            token=known.token,
            certificate_path=known.certificate_path,
            private_key_path=known.private_key_path,
        )

    for item in usable:
        resource = item.resource
        on_event = kopf.on.event(
            group=resource.group,
            version=resource.version,
            plural=resource.plural,
            id=f"{resource.plural}.{resource.group or 'core'}",
            registry=registry,
        )
        on_event(_handler(item, deliver))
    return registry


class _NoEssence(kopf.DiffBaseStorage):
    """Where kopf would keep an object as it last handled it. We handle raw events only, and copies of all objects are dear."""

    def build(self, **_: Any) -> Any:
        """Nothing of the object."""
        return {}

    def fetch(self, **_: Any) -> None:
        """There is none."""

    def store(self, **_: Any) -> None:
        """Keeps nothing."""


class _NoProgress(kopf.ProgressStorage):
    """Where kopf would keep how far its handlers came with an object."""

    def fetch(self, **_: Any) -> None:
        """There is none."""

    def store(self, **_: Any) -> None:
        """Keeps nothing."""

    def purge(self, **_: Any) -> None:
        """There is none."""

    def touch(self, **_: Any) -> None:
        """Touches nothing."""

    def clear(self, *, essence: Any) -> Any:
        """There is none of it in what `_NoEssence` gives."""
        return essence


def _handler(item: Watched, deliver: Deliver) -> Callable[..., Awaitable[None]]:
    async def handle(event: Mapping[str, Any], **_: Any) -> None:
        deliver(item, event["type"], event["object"])

    return handle


def build_settings(usable: Sequence[Watched]) -> kopf.OperatorSettings:
    """kopf's settings: no writes, no scanning, bounded waits, selection by the API server."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NoEssence()
    settings.persistence.progress_storage = _NoProgress()
    settings.networking.request_timeout = 20
    settings.networking.connect_timeout = 5
    # Many short retries: an outage of the API server ends within a second of its return, and kopf's thread can be stopped.
    settings.networking.error_backoffs = (0.2, 0.5, 1.0, 1.0, 1.0)
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = PAGE
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 1.0
    # By default kopf kills the whole process when its own end takes too long.
    settings.process.ultimate_exiting_timeout = None
    for item in usable:
        if item.labels:
            settings.watching.label_selectors[item.resource.group, item.resource.version, item.resource.plural] = item.labels
    return settings
