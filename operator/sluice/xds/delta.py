"""What to send to one proxy next: the delta xDS protocol as a pure state machine.

One `Session` is one stream. Requests and snapshots go in, at most one response a type is under way, and what comes out is
always the difference to the latest snapshot: a slow proxy skips states, it never queues them. gRPC, protobuf and time
stay out (`server.py`, `stream.py`).

Order: make before break. Clusters and their endpoints go out first. What names a cluster that the proxy does not have yet
(with endpoints) waits for it; what names only clusters it has does not wait, even while others are under way, so that a
weight leaves a bad canary at once. Removals wait until everything else is done. Types that are subscribed to by name
lose resources by not being referred to any more, so only wildcard types need removals.

Envoy acknowledges a cluster once it is warm, that is after its endpoints have arrived; and for a changed cluster it does
not ask for endpoints that it has. So endpoints never wait for the acknowledgement of their cluster, and are sent again
behind each cluster that is sent. A cluster that needs no endpoints from us may warm for long (a name that does not
resolve): after `PATIENCE` what names it goes out without it.

A response that the proxy refuses says nothing of which resource was wrong, and others of it may have been applied: they
are sent again one by one. A resource refused alone is not sent again until its content changes; the proxy keeps the last
good one, and later types go on: a weight that leaves a bad canary must not wait for somebody else's broken cluster.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from sluice.xds import order, snapshot

WILDCARD: Final = "*"
WILDCARD_TYPES: Final = (snapshot.CLUSTER, snapshot.LISTENER)
PATIENCE: Final = 1.0
"""Seconds that others wait for a cluster whose endpoints do not come from us."""
_UNKNOWN: Final = ""
"""Version of a resource of which the proxy may hold any state."""


_NEVER_WAIT: Final = (snapshot.SECRET, snapshot.CLUSTER, snapshot.ENDPOINTS)
_BEFORE_ROUTES: Final = (snapshot.EXTENSION, snapshot.LISTENER)
"""Acknowledged at once, and the routes may rely on them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One resource, ready to be sent. `version` is a hash of `body`, the same in every process."""

    version: str
    body: bytes


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """All resources of a gateway at one version."""

    version: int
    entries: Mapping[str, Mapping[str, Entry]]
    """type URL -> name -> entry."""
    endpoints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Cluster -> name of its endpoints' resource, for clusters that take their endpoints from ADS."""

    def of(self, type_url: str) -> Mapping[str, Entry]:
        """The entries of one type."""
        return self.entries.get(type_url, {})


@dataclasses.dataclass(frozen=True)
class Request:
    """A DeltaDiscoveryRequest. `error` is None unless it refuses the response with this nonce."""

    type_url: str
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    nonce: str = ""
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Response:
    """A DeltaDiscoveryResponse."""

    type_url: str
    nonce: str
    version: int
    resources: Mapping[str, Entry]
    removed: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, order=True)
class Rejection:
    """A resource that a proxy refused, with the proxy's words."""

    type_url: str
    name: str
    message: str


@dataclasses.dataclass
class _Type:
    """What the proxy asked for and holds of one type."""

    wildcard: bool = False
    names: set[str] = dataclasses.field(default_factory=set)
    held: dict[str, str] = dataclasses.field(default_factory=dict)
    """Name -> version the proxy acknowledged, or `_UNKNOWN`."""
    under_way: Response | None = None
    again: set[str] = dataclasses.field(default_factory=set)
    """Names to be sent whatever the proxy holds."""
    alone: set[str] = dataclasses.field(default_factory=set)
    """Names to be sent one by one, because they were refused together."""
    refused: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    """Name -> (version, message) of what was refused alone."""
    answer_due: bool = False
    """The first request is answered even with nothing, or the proxy would wait for it."""
    missing: set[str] = dataclasses.field(default_factory=set)
    """Names asked for that do not exist, and that the proxy was not told about yet."""

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def due(self, entries: Mapping[str, Entry]) -> dict[str, Entry]:
        """What the proxy asked for and has in another version, except what it refused in this one."""
        return {
            name: entry
            for name, entry in entries.items()
            if (self.held.get(name) != entry.version or name in self.again)
            and self.wants(name)
            and (name not in self.refused or self.refused[name][0] != entry.version)
        }


class Session:
    """The state of one proxy's stream. Not thread-safe; every method is quick and never blocks."""

    def __init__(self) -> None:
        self._types: dict[str, _Type] = {}
        self._snapshot: Snapshot | None = None
        self._nonce = 0
        self._acknowledged = 0
        self._leftover: dict[str, Entry] = {}
        """Endpoints that no longer exist, but that a cluster which was sent before still waits for."""
        self._waiting_since: float | None = None
        """Since when something waits for a cluster that needs no endpoints from us."""

    @property
    def acknowledged(self) -> int:
        """The newest version of which the proxy confirmed everything; 0 before the first."""
        return self._acknowledged

    @property
    def in_sync(self) -> bool:
        """Whether the proxy confirmed everything of the latest snapshot, and asked for nothing since."""
        return self._snapshot is not None and self._complete(self._snapshot)

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """What the proxy refuses of the latest snapshot."""
        if self._snapshot is None:
            return ()
        return tuple(
            sorted(
                Rejection(type_url, name, message)
                for type_url, state in self._types.items()
                for name, (version, message) in state.refused.items()
                if (entry := self._snapshot.of(type_url).get(name)) is not None and entry.version == version
            )
        )

    def held(self, type_url: str) -> Mapping[str, str]:
        """Name -> version of what the proxy is known to hold; a new stream starts with what the proxy says it kept."""
        state = self._types.get(type_url)
        return dict(state.held) if state is not None else {}

    def update(self, latest: Snapshot) -> None:
        """The gateway has a new state. Unlike no snapshot at all, an empty one takes everything away."""
        endpoints = self._types.get(snapshot.ENDPOINTS)
        if self._snapshot is not None and endpoints is not None:
            known = {**self._leftover, **self._snapshot.of(snapshot.ENDPOINTS)}
            self._leftover = {
                name: known[name] for name in endpoints.again & known.keys() - latest.of(snapshot.ENDPOINTS).keys()
            }
        self._snapshot = latest
        self._settle()

    def receive(self, request: Request) -> None:
        """Takes one request. Types that we do not serve are answered with nothing, once."""
        state = self._types.get(request.type_url)
        if state is None:
            state = self._types[request.type_url] = self._first(request)
        elif request.subscribe or request.unsubscribe:
            _subscribe(state, request)
        if request.nonce:
            self._confirm(request, state)
        self._settle()

    def next_response(self, now: float) -> Response | None:
        """The next thing to send, taken as sent. None: nothing until the next request or snapshot, or until `look_again`."""
        if self._snapshot is None:
            return None
        missing, slow = self._missing()
        if not slow:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = now
        elif now - self._waiting_since >= PATIENCE:
            slow = set()
        for type_url in (*order.ADD, *(other for other in self._types if other not in order.ADD)):
            names = missing | slow if type_url not in _NEVER_WAIT else set()
            if (response := self._addition(type_url, names)) is not None:
                return response
            if type_url in _BEFORE_ROUTES and type_url in self._types and self._types[type_url].under_way is not None:
                return None
        return self._next_removal()

    @property
    def look_again(self) -> float | None:
        """When `next_response` may have more to say even if nothing happens; a time like those it was given."""
        return self._waiting_since + PATIENCE if self._waiting_since is not None else None

    def _missing(self) -> tuple[set[str], set[str]]:
        """Clusters that the proxy is to have and has in no version: those with endpoints from us, and the others."""
        assert self._snapshot is not None
        clusters, endpoints = self._types.get(snapshot.CLUSTER, _Type()), self._types.get(snapshot.ENDPOINTS, _Type())
        existing = self._snapshot.of(snapshot.ENDPOINTS)
        ours: set[str] = set()
        others: set[str] = set()
        for cluster in self._snapshot.of(snapshot.CLUSTER):
            name = self._snapshot.endpoints.get(cluster)
            if cluster in clusters.refused:
                continue
            if clusters.held.get(cluster, _UNKNOWN) == _UNKNOWN:
                (others if name is None else ours).add(cluster)
            elif name in existing and name not in endpoints.held:
                ours.add(cluster)
        return ours, others

    def _entries(self, type_url: str) -> Mapping[str, Entry]:
        """What may be sent of a type."""
        assert self._snapshot is not None
        current = self._snapshot.of(type_url)
        return {**self._leftover, **current} if type_url == snapshot.ENDPOINTS and self._leftover else current

    def _next_removal(self) -> Response | None:
        assert self._snapshot is not None
        if self.rejections:
            return None  # what the proxy kept instead may still refer to what would be removed
        if any(state.under_way or state.due(self._snapshot.of(type_url)) for type_url, state in self._types.items()):
            return None
        for type_url in order.REMOVE:
            if type_url in WILDCARD_TYPES and (response := self._removal(type_url)) is not None:
                return response
        return None

    def _first(self, request: Request) -> _Type:
        state = _Type(wildcard=request.type_url in WILDCARD_TYPES and not request.subscribe)
        _subscribe(state, request)
        state.answer_due = state.wildcard
        state.held = {name: version for name, version in request.initial_versions.items() if state.wants(name)}
        # Endpoints are always sent again: a cluster of this proxy may be warming and wait for them.
        state.again = set(state.held) if request.type_url == snapshot.ENDPOINTS else set()
        # What it kept but we no longer have is not withdrawn: the listener or cluster that refers to it goes first.
        state.missing -= request.initial_versions.keys()
        return state

    def _confirm(self, request: Request, state: _Type) -> None:
        sent = state.under_way
        if sent is None or sent.nonce != request.nonce:
            return
        state.under_way = None
        if request.error is None:
            self._accepted(sent, state)
        elif len(sent.resources) == 1:
            (name,) = sent.resources
            state.refused[name] = (sent.resources[name].version, request.error)
            state.alone.discard(name)
        else:
            for name in sent.removed:
                state.held.pop(name, None)  # there is no other way to say it, and repeating it would never end
            for name in sent.resources:
                state.alone.add(name)
                state.held[name] = _UNKNOWN

    def _accepted(self, sent: Response, state: _Type) -> None:
        for name, entry in sent.resources.items():
            if state.wants(name):
                state.held[name] = entry.version
            state.refused.pop(name, None)
            state.alone.discard(name)
        for name in sent.removed:
            state.held.pop(name, None)

    def _addition(self, type_url: str, missing: set[str]) -> Response | None:
        state = self._types.get(type_url)
        if state is None or state.under_way is not None or self._snapshot is None:
            return None
        entries = self._entries(type_url)
        due = {name: entry for name, entry in state.due(entries).items() if not _names_any(entry, missing)}
        together = {name: entry for name, entry in due.items() if name not in state.alone}
        absent = tuple(sorted(name for name in state.missing if name not in entries))
        state.missing.clear()
        if not together and due:
            name = min(due)
            together = {name: due[name]}
        if not together and not absent and not state.answer_due:
            return None
        state.answer_due = False
        if type_url == snapshot.CLUSTER:
            self._send_endpoints_again(together)
        return self._send(type_url, state, together, absent)

    def _send_endpoints_again(self, clusters: Mapping[str, Entry]) -> None:
        assert self._snapshot is not None
        endpoints = self._types.get(snapshot.ENDPOINTS)
        if endpoints is not None:
            names = {self._snapshot.endpoints.get(cluster, "") for cluster in clusters}
            endpoints.again |= names & endpoints.names

    def _removal(self, type_url: str) -> Response | None:
        state = self._types.get(type_url)
        if state is None or state.under_way is not None or self._snapshot is None:
            return None
        removed = tuple(sorted(name for name in state.held if name not in self._snapshot.of(type_url)))
        return self._send(type_url, state, {}, removed) if removed else None

    def _send(self, type_url: str, state: _Type, resources: Mapping[str, Entry], removed: tuple[str, ...]) -> Response:
        assert self._snapshot is not None
        self._nonce += 1
        state.again -= resources.keys()
        state.under_way = Response(type_url, str(self._nonce), self._snapshot.version, resources, removed)
        return state.under_way

    def _settle(self) -> None:
        """Forgets what no longer exists, and notes the version if the proxy has confirmed all of it."""
        if self._snapshot is None:
            return
        for type_url, state in self._types.items():
            entries = self._entries(type_url)
            state.alone &= entries.keys()
            state.again &= entries.keys()
            if type_url not in WILDCARD_TYPES:
                for name in state.held.keys() - entries.keys():
                    del state.held[name]
        if self._complete(self._snapshot):
            self._acknowledged = self._snapshot.version

    def _complete(self, latest: Snapshot) -> bool:
        for type_url in WILDCARD_TYPES:
            state = self._types.get(type_url)
            if state is None or state.answer_due or state.held.keys() - latest.of(type_url).keys():
                return False
        if any(state.under_way is not None or state.again for state in self._types.values()):
            return False
        return all(
            (state := self._types.get(type_url)) is not None and state.held.get(name) == entry.version
            for type_url, entries in latest.entries.items()
            for name, entry in entries.items()
        )


def _subscribe(state: _Type, request: Request) -> None:
    for name in request.unsubscribe:
        if name == WILDCARD:
            state.wildcard = False
        state.names.discard(name)
        if not state.wants(name):
            state.held.pop(name, None)
            state.missing.discard(name)
            state.again.discard(name)
    for name in request.subscribe:
        if name == WILDCARD:
            state.wildcard = True
            continue
        state.names.add(name)
        # Asked for by name means: send it, whatever we believe the proxy holds.
        state.held.pop(name, None)
        state.again.add(name)
        state.missing.add(name)


def _names_any(entry: Entry, clusters: set[str]) -> bool:
    """Whether the resource mentions one of the names. To see one where there is none only delays, and never for long."""
    return any(name.encode() in entry.body for name in clusters)
