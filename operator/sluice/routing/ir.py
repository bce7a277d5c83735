"""The routing table of one Gateway: all that a proxy must do, in terms of neither Kubernetes nor Envoy.

Equal inputs give equal values: every sequence has a defined order.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

from sluice.routing import inputs

TOTAL_WEIGHT: Final = 10_000
"""Weights of a group with a split add up to this, whatever the split: users keep their place when it changes."""

SHADOW_REQUESTS: Final = 256
"""Copies that one proxy may have under way to one revision. More are dropped, so that a slow revision fills no memory."""

FAILOVER_RETRIES: Final = 10_000
"""Retries that may be in flight at once for a cluster whose failures the next group of a chain takes over: the bound of a
proxy's memory, never reached. What stable takes over from a canary has a bound of its own, in `shield`."""


class Access(enum.StrEnum):
    """Who may call."""

    KEY = "Key"
    """Only clients with a known key."""
    KEY_OR_ANONYMOUS = "KeyOrAnonymous"
    """Clients with a known key, and requests that carry none. A wrong key is refused."""
    OPEN = "Open"
    """Anyone. A key is dropped unread: there are none to compare it with."""


@dataclasses.dataclass(frozen=True)
class Clients:
    """Who may call, by hashed keys."""

    access: Access
    keys: tuple[tuple[str, str], ...] = ()
    """(SHA-256 of the key in lower-case hex, name of the client), sorted."""


@dataclasses.dataclass(frozen=True)
class RevisionCluster:
    """The pods of one revision."""

    name: str
    endpoints: tuple[inputs.Endpoint, ...]
    """Sorted. Empty: the cluster refuses every attempt at once, so that the next group is tried."""
    max_retries: int
    """Requests whose first attempt was here that may be in retry at once; 0 keeps its own failures from being doubled."""
    max_requests: int | None = None
    """Requests that may be under way at once; more fail at once. None: no bound of ours."""


@dataclasses.dataclass(frozen=True)
class ProviderCluster:
    """An external provider."""

    name: str
    host: str
    port: int
    tls: bool
    credential: str | None
    """File name, below the proxies' credentials directory, of the key that is sent as a bearer token."""
    max_retries: int


Cluster = RevisionCluster | ProviderCluster


@dataclasses.dataclass(frozen=True)
class Member:
    """A cluster's share of its group."""

    cluster: str
    weight: int
    """Above 0, relative to the group's total."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Clusters of which one gets the attempt."""

    members: tuple[Member, ...]


@dataclasses.dataclass(frozen=True)
class Mirror:
    """Copies of some requests, whose answers are dropped."""

    cluster: str
    share: int
    """Basis points of the requests, above 0."""


@dataclasses.dataclass(frozen=True)
class Stickiness:
    """By what a member of a group is chosen, instead of at random."""

    header: str
    """In lower case. Requests without it are drawn at random."""
    salt: str
    """Mixed with the header's value, so that other users are first under another salt."""


@dataclasses.dataclass(frozen=True)
class Override:
    """Other groups for clients that ask for them."""

    header: str
    """In lower case."""
    value: str
    clients: tuple[str, ...]
    """Clients with a key; never empty."""
    groups: tuple[Group, ...]


@dataclasses.dataclass(frozen=True)
class Times:
    """Time limits of a route, in milliseconds."""

    request: int
    """Of the whole request with all its attempts."""
    first_byte: int
    """Of one attempt of a streaming request, until it begins to answer."""
    always_first_byte: bool = False
    """Whether that ends an attempt too which nothing comes after."""
    idle: int | None = None
    """Of silence in a streaming request."""

    @property
    def attempt(self) -> int:
        """Of one attempt, a little less than of the request: what runs into the request's limit is not told from a client that
        left, and would never count against the revision that hangs.
        """
        return self.request - min(1000, self.request // 10)


@dataclasses.dataclass(frozen=True)
class Route:
    """What happens to requests for one model."""

    name: str
    """Of the explicit route, or `<namespace>/<name>` of the ModelDeployment; several models may share it."""
    model: str
    groups: tuple[Group, ...]
    """Tried in order, one attempt each. Empty: nothing can answer now, and clients are told so."""
    times: Times
    mirror: Mirror | None = None
    stickiness: Stickiness | None = None
    override: Override | None = None
    """Counted under the name `<name>/override`."""
    limits: tuple[str, ...] = ()
    """Names of the limits that count it."""

    @property
    def chains(self) -> tuple[tuple[Group, ...], ...]:
        """The ways that a request can take: the groups of each."""
        return (self.groups,) if self.override is None else (self.override.groups, self.groups)


@dataclasses.dataclass(frozen=True)
class Limit:
    """How much may pass. Every limit of a route must admit a request."""

    name: str
    """`<policy>/<limit>`."""
    clients: tuple[str, ...]
    """Clients it counts; empty: all, anonymous ones too."""
    per_client: bool
    """Whether each client has a bucket of its own; anonymous requests share one."""
    per_model: bool
    """Whether each model has a bucket of its own."""
    algorithm: str
    amount: int
    per_ms: int
    """Time in which `amount` is refilled."""
    burst: int
    """Most that may pass at once."""


@dataclasses.dataclass(frozen=True)
class Gateway:
    """One Gateway's routing table."""

    name: str
    """`<namespace>/<name>`."""
    port: int
    clients: Clients
    routes: tuple[Route, ...]
    clusters: tuple[Cluster, ...]
    """Of all routes, and of revisions that are to get traffic later; sorted by name."""
    limits: tuple[Limit, ...] = ()
