"""What a routing table is made from, gathered by the caller. Values only: nothing here decides."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from sluice.api import gateway, ratelimitpolicy


@dataclasses.dataclass(frozen=True, order=True)
class Endpoint:
    """Where one pod listens."""

    address: str
    """An IP address."""
    port: int


@dataclasses.dataclass(frozen=True)
class Revision:
    """One revision of a ModelDeployment that may get traffic."""

    cluster: str
    """`naming.revision_cluster`: also the `revision` of the attempt counters."""
    endpoints: tuple[Endpoint, ...] = ()
    """Ready pods, in any order. None: attempts fail at once, and go to the next group where there is one."""


@dataclasses.dataclass(frozen=True)
class Override:
    """Clients that get the canary when they ask for it."""

    header: str
    """In lower case."""
    value: str
    clients: tuple[str, ...]
    """Names of keys. Anonymous requests and other clients' can't ask."""


@dataclasses.dataclass(frozen=True)
class Shield:
    """Whether and how far stable answers requests that the canary fails."""

    enabled: bool = True
    max_extra_load: float = 0.2
    """Share of stable's requests in flight that it may be given on top, above 0."""


DEFAULT_SHIELD: Final = Shield()


@dataclasses.dataclass(frozen=True)
class Split:
    """How a ModelDeployment's traffic is divided."""

    stable: Revision | None = None
    canary: Revision | None = None
    weight: int = 0
    """Share of the canary in basis points, 0 to 10000."""
    mirror: int = 0
    """Share of the requests that the canary gets a copy of, in basis points, 0 to 10000."""
    stickiness: str | None = None
    """Lower-case name of the header by whose value a user stays with one revision."""
    override: Override | None = None
    """Who may ask for the canary now, whatever its weight."""
    shield: Shield = DEFAULT_SHIELD
    stable_in_flight: int | None = None
    """Requests of stable under way in one proxy. None: not known, and `shield.ASSUMED_IN_FLIGHT` stands in."""

    def __post_init__(self) -> None:
        for name, share in (("weight", self.weight), ("mirror", self.mirror)):
            if not 0 <= share <= 10_000:
                raise ValueError(f"Cannot split traffic: {name} {share} is not within 0 and 10000 basis points")


@dataclasses.dataclass(frozen=True)
class ModelInput:
    """A ModelDeployment that refers to the gateway, or that one of the gateway's routes names."""

    namespace: str
    name: str
    created: str
    """Its creationTimestamp (RFC 3339, UTC): the oldest claim to a name wins."""
    served_name: str
    gateway_allowed: bool
    """Whether the Gateway's `allowedModels` lets its namespace in."""
    split: Split = Split()
    refers: bool = True
    """Whether its `gatewayRefs` name the Gateway. Without that nobody may send traffic to it."""
    adapters: tuple[str, ...] = ()
    """Names of its LoRA adapters: clients ask for them as for models, and the engine tells them apart."""


@dataclasses.dataclass(frozen=True)
class GatewayInputs:
    """Everything that decides what one Gateway's proxies do."""

    gateway: gateway.Gateway
    models: tuple[ModelInput, ...] = ()
    policies: tuple[ratelimitpolicy.RateLimitPolicy, ...] = ()
    """RateLimitPolicies whose targetRefs name the Gateway."""
    api_keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """SHA-256 of a client's key, 64 lower-case hex digits -> the client's name."""
