"""Kubernetes Events: what happened, for `kubectl describe` and `kubectl events`. They never fail or delay a reconcile."""

from __future__ import annotations

import asyncio
import datetime
import secrets
from typing import Final

from sluice.api import base, naming
from sluice.kube import client as kube_client
from sluice.kube import errors, resources
from sluice.observability import logs

_log = logs.get(__name__)

QUEUE_LENGTH: Final = 256
"""Events that wait to be written; more are dropped, because they must not cost memory while the API server is away."""
REMEMBERED: Final = 512
"""The latest event of so many objects is remembered, so that the same thing said again is not written again."""
_NOTE_MAX: Final = 1024


class Recorder:
    """Writes events in the background. `run` it as a task."""

    def __init__(self, client: kube_client.Client, identity: str) -> None:
        self._client = client
        self._identity = identity
        self._queue: asyncio.Queue[kube_client.Object] = asyncio.Queue(QUEUE_LENGTH)
        self._last: dict[str, tuple[str, str]] = {}

    def record(self, kind: str, metadata: base.NamedObject, reason: str, message: str, *, warning: bool = False) -> None:
        """Something happened to one of our objects. Said again at once, it counts as said."""
        key = f"{kind}/{metadata.namespace}/{metadata.name}"
        if self._last.get(key) == (reason, message):
            return
        self._last.pop(key, None)
        self._last[key] = (reason, message)
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]
        try:
            self._queue.put_nowait(self._build(kind, metadata, reason, message, warning=warning))
        except asyncio.QueueFull:
            _log.warning("event dropped", object=key, reason=reason)

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._client.create(resources.EVENTS, event)
            except errors.ApiError as error:
                _log.warning("event not written", reason=event["reason"], cause=str(error))

    def _build(self, kind: str, metadata: base.NamedObject, reason: str, message: str, *, warning: bool) -> kube_client.Object:
        now = datetime.datetime.now(datetime.UTC)
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata.name}.{secrets.token_hex(8)}", "namespace": metadata.namespace},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": f"{base.GROUP}/{naming.MANAGED_BY}",
            "reportingInstance": self._identity,
            "action": reason,
            "reason": reason,
            "note": message[:_NOTE_MAX],
            "type": "Warning" if warning else "Normal",
            "regarding": {
                "apiVersion": base.API_VERSION,
                "kind": kind,
                "namespace": metadata.namespace,
                "name": metadata.name,
                "uid": metadata.uid,
                "resourceVersion": metadata.resource_version,
            },
        }
