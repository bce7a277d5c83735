"""Kubernetes Events, as `kubectl describe` shows them: what happened, once, with a count.

Telling never fails or delays a reconcile: events are queued, bounded, sent in the background, and dropped with a log line when
the API server does not take them. What is worth an event is decided by the reconcilers.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any, Final

from sluice.api import naming
from sluice.kube import client, errors, resources, retry, times
from sluice.observability import logs

_log = logs.get(__name__)

CONTROLLER: Final = "sluice.dev/operator"
_QUEUE_MAX: Final = 1000
_KNOWN_MAX: Final = 2000
_NOTE_MAX: Final = 1000
"""The API server takes 1024 bytes."""
_SERIES_SECONDS: Final = 600.0
"""The same again within this time is counted on the event that is there; after it, it is a new one."""
_BURST: Final = 25
_REFILL_SECONDS: Final = 60.0
"""One object may have so many events at once, and one more each so often: a flapping one must not fill etcd."""


class Type(enum.StrEnum):
    """How an event is shown."""

    NORMAL = "Normal"
    """Something went as it should."""
    WARNING = "Warning"
    """Something needs a look."""


@dataclasses.dataclass(frozen=True)
class Event:
    """What happened to which object.

    `reason` is PascalCase for machines, `note` a sentence for people, `action` what we were doing.
    """

    regarding: Mapping[str, Any]
    type: Type
    reason: str
    note: str
    action: str = "Reconcile"

    def reference(self) -> dict[str, str]:
        """The object as an event names it."""
        metadata = self.regarding["metadata"]
        wanted = {
            "apiVersion": self.regarding.get("apiVersion"),
            "kind": self.regarding.get("kind"),
            "namespace": metadata.get("namespace"),
            "name": metadata.get("name"),
            "uid": metadata.get("uid"),
        }
        return {key: str(value) for key, value in wanted.items() if value}


@dataclasses.dataclass
class Series:
    """An event on the API server, and how often it happened."""

    name: str
    namespace: str
    count: int
    last: float


@dataclasses.dataclass
class _Budget:
    tokens: float
    at: float


class Ledger:
    """Decides what becomes of an event: a new one, one more of the same, or nothing. Bounded; takes the time as an argument."""

    def __init__(self) -> None:
        self._series: collections.OrderedDict[tuple[str, ...], Series] = collections.OrderedDict()
        self._budgets: collections.OrderedDict[str, _Budget] = collections.OrderedDict()

    def enter(self, event: Event, now: float) -> Series | None:
        """The series that the event belongs to, already counted (1: to be made); None when its object has had too many."""
        reference = event.reference()
        who = reference.get("uid") or "/".join(reference.values())
        if not self._spend(who, now):
            return None
        key = (who, event.type.value, event.reason, event.action, event.note)
        series = self._series.get(key)
        if series is None or now - series.last > _SERIES_SECONDS:
            namespace = reference.get("namespace", "default")
            unique = naming.content_hash([*key, now], length=16)
            series = Series(f"{reference['name'][:200]}.{unique}", namespace, 0, now)
            self._series[key] = series
        series.count += 1
        series.last = now
        self._series.move_to_end(key)
        while len(self._series) > _KNOWN_MAX:
            self._series.popitem(last=False)
        return series

    def _spend(self, who: str, now: float) -> bool:
        budget = self._budgets.setdefault(who, _Budget(_BURST, now))
        self._budgets.move_to_end(who)
        while len(self._budgets) > _KNOWN_MAX:
            self._budgets.popitem(last=False)
        budget.tokens = min(_BURST, budget.tokens + max(0.0, now - budget.at) / _REFILL_SECONDS)
        budget.at = now
        if budget.tokens < 1:
            return False
        budget.tokens -= 1
        return True


class Recorder:
    """Takes events and sends them. `run` it as a task; `tell` may be called at any time in the same event loop."""

    def __init__(self, api: client.Client, *, instance: str, now: Callable[[], float]) -> None:
        self._api = api
        self._instance = instance[:128] or "unknown"
        self._now = now
        self._ledger = Ledger()
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE_MAX)

    def tell(self, event: Event) -> None:
        """Queues an event; with a full queue it is dropped. Never raises."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            _log.warning("event dropped: too many are waiting", reason=event.reason, note=event.note)

    async def run(self) -> None:
        """Sends events until cancelled."""
        while True:
            await self._send(await self._queue.get())
            self._queue.task_done()

    async def drain(self, seconds: float) -> None:
        """Waits until what was told is sent, not longer than so."""
        try:
            await asyncio.wait_for(self._queue.join(), seconds)
        except TimeoutError:
            _log.warning("events dropped: the process ends", count=self._queue.qsize())

    async def _send(self, event: Event) -> None:
        series = self._ledger.enter(event, self._now())
        if series is None:
            _log.info("event dropped: its object has had too many", reason=event.reason, **event.reference())
            return
        try:
            await self._write(event, series)
        except errors.AlreadyExists:
            pass  # our own first attempt, whose answer was lost
        except errors.ApiError as error:
            _log.warning("event not sent", reason=event.reason, cause=str(error), **event.reference())

    async def _write(self, event: Event, series: Series) -> None:
        policy = retry.Policy(attempts=2)
        if series.count > 1:
            counted = {"series": {"count": series.count, "lastObservedTime": times.micro_time(series.last)}}
            try:
                await self._api.patch(resources.EVENTS, series.namespace, series.name, counted, policy=policy)
            except errors.NotFound:
                pass  # it has expired, or was never taken: make it
            else:
                return
        await self._api.create(resources.EVENTS, build(event, series, self._instance), policy=policy)


def build(event: Event, series: Series, instance: str) -> dict[str, Any]:
    """The event as events.k8s.io/v1 has it."""
    note = event.note
    while len(note.encode()) > _NOTE_MAX:
        note = note[: len(note) * 9 // 10] + "…"
    return {
        "metadata": {"name": series.name, "namespace": series.namespace},
        "eventTime": times.micro_time(series.last),
        "type": event.type.value,
        "reason": event.reason,
        "note": note,
        "action": event.action,
        "regarding": event.reference(),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
    }
