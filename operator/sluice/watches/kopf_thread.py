"""kopf, in a thread and event loop of its own, because it ends whatever else runs in its loop."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import aiohttp
import kopf

from sluice.api import naming
from sluice.kube import client, connection, resources
from sluice.observability import logs

_log = logs.get(__name__)

PAGE: Final = 250
NOTHING: Final = f"{naming.LABEL_MANAGED_BY}={naming.MANAGED_BY},!{naming.LABEL_MANAGED_BY}"
"""A selector: is ours, and has not the label that says so."""
_JOIN_SECONDS: Final = 15.0

Object = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Watched:
    """A resource, and the label selector that the API server applies ("" is everything)."""

    resource: resources.Resource
    labels: str = ""


Deliver = Callable[[Watched, str, Object], None]
"""Told of an event, in kopf's thread: ADDED, MODIFIED or DELETED."""
Listed = Callable[[Watched], None]
"""Told, in kopf's thread, that kopf has listed a resource and watches from there."""


class KopfThread:
    """One life of kopf, in a thread of its own. `ended` gets the reason when it ends by itself."""

    def __init__(
        self,
        api: client.Client,
        usable: Sequence[Watched],
        namespaces: Sequence[str],
        deliver: Deliver,
        listed: Listed,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self.ended: asyncio.Future[str] = self._loop.create_future()

        def unless_stopped(item: Watched, kind: str, obj: Object) -> None:
            if not self._stop.is_set():
                deliver(item, kind, obj)

        login = functools.partial(connection.credentials, api.configuration)
        registry = build_registry(usable, unless_stopped, functools.partial(_connect, login, usable, listed))
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
    usable: Sequence[Watched], deliver: Deliver, connect: Callable[[], Awaitable[kopf.AiohttpSession]]
) -> kopf.OperatorRegistry:
    """kopf's handlers: one `on.event` per resource, and how to log in.

    Every handler names its group and version: without, kopf scans all API groups, and one that is unavailable stops its start.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry, id="credentials")
    async def _login(**_: Any) -> kopf.AiohttpSession:
        return await connect()

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


async def _connect(
    login: Callable[[], Awaitable[connection.Credentials]], usable: Sequence[Watched], listed: Listed
) -> kopf.AiohttpSession:
    """A session of kopf's, which it closes itself."""
    known = await login()
    info = kopf.ConnectionInfo(
        server=known.server,
        ca_path=known.ca_path,
        insecure=known.insecure,
        scheme="Bearer" if known.token else None,
        token=known.token,
        certificate_path=known.certificate_path,
        private_key_path=known.private_key_path,
    )
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        middlewares=(ListsOfNothing(usable, listed),),
    )
    return kopf.AiohttpSession(server=known.server, aiohttp_session=session)


class ListsOfNothing:
    """Middleware of kopf's session: its lists are of nothing, and whoever lists for it is told.

    kopf needs a list for its version, from which it watches on. The objects come by our own lists: kopf's work on each was
    most of a start with many, and it would not tell what was deleted.
    """

    def __init__(self, usable: Iterable[Watched], listed: Listed) -> None:
        self._items = {(item.resource.api_version, item.resource.plural): item for item in usable}
        self._listed = listed

    async def __call__(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Passes everything on, lists with a selector that nothing meets."""
        item = self._items.get(_what(request.url.path))
        if item is None or request.method != "GET" or "watch" in request.url.query:
            return await handler(request)
        request.url = request.url.update_query(labelSelector=NOTHING)
        response = await handler(request)
        if response.ok:
            self._listed(item)
        return response


def _what(path: str) -> tuple[str, str]:
    """apiVersion and plural in the path of a list; of other paths something that is neither."""
    root, *rest = path.strip("/").split("/")
    version, rest = ("/".join(rest[:2]), rest[2:]) if root == "apis" else ("".join(rest[:1]), rest[1:])
    if len(rest) == 3 and rest[0] == "namespaces":
        rest = rest[2:]
    return (version, rest[0]) if len(rest) == 1 else ("", "")


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
