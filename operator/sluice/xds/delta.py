"""What to send to one proxy next: the delta xDS protocol as a pure state machine.

One `Session` is one stream. Requests and snapshots go in, at most one response a type is under way, and what comes out is
always the difference to the latest snapshot: a slow proxy skips states, it never queues them. gRPC, protobuf and time
stay out (`server.py`, `stream.py`).

Order: a type is sent once every earlier one in `order.ADD` is settled, that is acknowledged or refused, and the
endpoints of every cluster that the proxy holds are asked for. Removals wait until all of that is done. Types that are
subscribed to by name lose resources by not being referred to any more, so only wildcard types need removals.

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
_UNKNOWN: Final = ""
"""Version of a resource of which the proxy may hold any state."""


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
            if self.held.get(name) != entry.version and self.wants(name) and self.refused.get(name, (None,))[0] != entry.version
        }


class Session:
    """The state of one proxy's stream. Not thread-safe; every method is quick and never blocks."""

    def __init__(self) -> None:
        self._types: dict[str, _Type] = {}
        self._snapshot: Snapshot | None = None
        self._nonce = 0
        self._acknowledged = 0

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

    def next_response(self) -> Response | None:
        """The next thing to send, taken as sent; None: nothing until the next request or snapshot."""
        if self._snapshot is None:
            return None
        for type_url in (*order.ADD, *(other for other in self._types if other not in order.ADD)):
            if (response := self._addition(type_url)) is not None:
                return response
            if not self._settled(type_url):
                return None
        if self.rejections:
            return None  # what the proxy kept instead may still refer to what would be removed
        for type_url in order.REMOVE:
            if type_url in WILDCARD_TYPES and (response := self._removal(type_url)) is not None:
                return response
            if type_url in self._types and self._types[type_url].under_way is not None:
                return None
        return None

    def _first(self, request: Request) -> _Type:
        state = _Type(wildcard=request.type_url in WILDCARD_TYPES and not request.subscribe)
        _subscribe(state, request)
        state.answer_due = state.wildcard
        if request.type_url != snapshot.ENDPOINTS:
            # Endpoints are always sent again: a cluster of this proxy may be warming and wait for them.
            state.held = {name: version for name, version in request.initial_versions.items() if state.wants(name)}
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
        endpoints = self._types.get(snapshot.ENDPOINTS)
        if sent.type_url == snapshot.CLUSTER and endpoints is not None and self._snapshot is not None:
            for name in sent.resources:
                # A changed cluster warms until its endpoints arrive, and Envoy does not ask for a name it has already.
                endpoints.held.pop(self._snapshot.endpoints.get(name, ""), None)

    def _settled(self, type_url: str) -> bool:
        state = self._types.get(type_url)
        if state is None:
            return not (type_url == snapshot.ENDPOINTS and self._expected_endpoints())
        if state.under_way is not None:
            return False
        return type_url != snapshot.ENDPOINTS or all(state.wants(name) for name in self._expected_endpoints())

    def _expected_endpoints(self) -> set[str]:
        """Endpoints that the proxy is about to ask for, since it took their clusters."""
        clusters = self._types.get(snapshot.CLUSTER)
        if clusters is None or self._snapshot is None:
            return set()
        entries, existing = self._snapshot.of(snapshot.CLUSTER), self._snapshot.of(snapshot.ENDPOINTS)
        return {
            name
            for cluster, name in self._snapshot.endpoints.items()
            if name in existing and cluster in entries and clusters.held.get(cluster) == entries[cluster].version
        }

    def _addition(self, type_url: str) -> Response | None:
        state = self._types.get(type_url)
        if state is None or state.under_way is not None or self._snapshot is None:
            return None
        entries = self._snapshot.of(type_url)
        due = state.due(entries)
        together = {name: entry for name, entry in due.items() if name not in state.alone}
        missing = tuple(sorted(name for name in state.missing if name not in entries))
        state.missing.clear()
        if not together and due:
            name = min(due)
            together = {name: due[name]}
        if not together and not missing and not state.answer_due:
            return None
        state.answer_due = False
        return self._send(type_url, state, together, missing)

    def _removal(self, type_url: str) -> Response | None:
        state = self._types.get(type_url)
        if state is None or state.under_way is not None or self._snapshot is None:
            return None
        removed = tuple(sorted(name for name in state.held if name not in self._snapshot.of(type_url)))
        return self._send(type_url, state, {}, removed) if removed else None

    def _send(self, type_url: str, state: _Type, resources: Mapping[str, Entry], removed: tuple[str, ...]) -> Response:
        assert self._snapshot is not None
        self._nonce += 1
        state.under_way = Response(type_url, str(self._nonce), self._snapshot.version, resources, removed)
        return state.under_way

    def _settle(self) -> None:
        """Forgets what no longer exists, and notes the version if the proxy has confirmed all of it."""
        if self._snapshot is None:
            return
        for type_url, state in self._types.items():
            entries = self._snapshot.of(type_url)
            state.alone &= entries.keys()
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
        if any(state.under_way is not None for state in self._types.values()):
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
    for name in request.subscribe:
        if name == WILDCARD:
            state.wildcard = True
            continue
        state.names.add(name)
        # Asked for by name means: send it, whatever we believe the proxy holds.
        state.held.pop(name, None)
        state.missing.add(name)
