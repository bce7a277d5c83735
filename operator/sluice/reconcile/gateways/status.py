"""The status of a Gateway as a pure projection of what its proxies have acknowledged."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

from sluice.api import conditions
from sluice.api import gateway as api
from sluice.workloads import gateway as gateway_objects

Type = conditions.ConditionType


class Reason(enum.StrEnum):
    """Reasons of this kind's conditions."""

    ACCEPTED = "Accepted"
    """The spec is meaningful."""
    RESOLVED = "Resolved"
    """All references resolve."""
    SECRET_NOT_FOUND = "SecretNotFound"
    """A Secret that the spec names is missing, or lacks the label that lets the operator read it."""
    INVALID_API_KEYS = "InvalidAPIKeys"
    """A Secret of API keys has entries that are no SHA-256."""
    NO_CLIENTS = "NoClients"
    """Nobody may call: there are no API keys and anonymous calls are off."""
    PROGRAMMED = "Programmed"
    """Every connected proxy runs the latest configuration."""
    PENDING = "Pending"
    """Some proxy has not acknowledged the latest configuration yet."""
    REJECTED = "ConfigurationRejected"
    """A proxy refused a resource; it goes on with the last good one."""
    NO_PROXIES = "NoProxies"
    """No proxy is connected."""
    SCALED_TO_ZERO = "ScaledToZero"
    """No proxies are wanted: what was asked for is there, and nothing serves."""
    PROXIES_NOT_READY = "ProxiesNotReady"
    """Fewer proxies are ready than the spec asks for."""
    READY = "Ready"
    """All proxies are ready and in sync."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """What in the spec can't be used, and the fix."""

    reason: Reason
    message: str


@dataclasses.dataclass(frozen=True)
class View:
    """What the status speaks of."""

    gateway: api.Gateway
    routes: tuple[api.RouteStatus, ...]
    connected: int
    in_sync: int
    rejected: int
    errors: tuple[str, ...]
    """What proxies said of resources that they refused."""
    ready_pods: int
    problems: tuple[Problem, ...] = ()


def build_status(view: View, *, now: str) -> api.GatewayStatus:
    """The status to write. `now` is an RFC 3339 time."""
    metadata = view.gateway.metadata
    old_routes = {route.name: route for route in view.gateway.status.routes}
    return api.GatewayStatus(
        observed_generation=metadata.generation,
        conditions=conditions.merge(view.gateway.status.conditions, _conditions(view), generation=metadata.generation, now=now),
        address=gateway_objects.address(view.gateway),
        proxies=api.ProxyStatus(connected=view.connected, in_sync=view.in_sync, rejected=view.rejected),
        routes=tuple(
            route.model_copy(
                update={
                    "conditions": conditions.merge(
                        old_routes[route.name].conditions if route.name in old_routes else (),
                        route.conditions,
                        generation=metadata.generation,
                        now=now,
                    )
                }
            )
            for route in view.routes
        ),
    )


def _conditions(view: View) -> Iterator[conditions.Condition]:
    ready = _ready(view)
    yield ready
    yield _available(view)
    if view.problems:
        yield conditions.make(Type.STALLED, True, view.problems[0].reason, _text(view.problems))
    elif ready.status != "True":
        yield conditions.make(Type.RECONCILING, True, ready.reason, ready.message)
    yield conditions.make(Type.ACCEPTED, True, Reason.ACCEPTED, "The spec is accepted")
    if view.problems:
        yield conditions.make(Type.RESOLVED_REFS, False, view.problems[0].reason, _text(view.problems))
    else:
        yield conditions.make(Type.RESOLVED_REFS, True, Reason.RESOLVED, "All references resolve")
    yield _programmed(view)


def _available(view: View) -> conditions.Condition:
    message = f"{view.ready_pods} proxies are ready"
    if view.ready_pods:
        return conditions.make(Type.AVAILABLE, True, Reason.READY, message)
    reason = Reason.NO_PROXIES if view.gateway.spec.replicas else Reason.SCALED_TO_ZERO
    return conditions.make(Type.AVAILABLE, False, reason, message)


def _text(problems: tuple[Problem, ...]) -> str:
    return "; ".join(problem.message for problem in problems)


def _programmed(view: View) -> conditions.Condition:
    if view.rejected:
        return conditions.make(
            Type.PROGRAMMED,
            False,
            Reason.REJECTED,
            f"{view.rejected} of {view.connected} proxies refused a resource and keep the last good one: "
            f"{'; '.join(view.errors)}",
        )
    if not view.connected:
        return conditions.make(Type.PROGRAMMED, False, Reason.NO_PROXIES, "No proxy is connected to the operator")
    if view.in_sync < view.connected:
        return conditions.make(
            Type.PROGRAMMED, False, Reason.PENDING, f"{view.in_sync} of {view.connected} proxies run the latest configuration"
        )
    return conditions.make(
        Type.PROGRAMMED, True, Reason.PROGRAMMED, f"All {view.connected} proxies run the latest configuration"
    )


def _ready(view: View) -> conditions.Condition:
    if view.problems:
        return conditions.make(Type.READY, False, view.problems[0].reason, _text(view.problems))
    programmed = _programmed(view)
    desired = view.gateway.spec.replicas
    if view.ready_pods < desired:
        return conditions.make(Type.READY, False, Reason.PROXIES_NOT_READY, f"{view.ready_pods} of {desired} proxies are ready")
    if not desired:
        return conditions.make(Type.READY, True, Reason.SCALED_TO_ZERO, "spec.replicas is 0: raise it to serve")
    if programmed.status != "True":
        return conditions.make(Type.READY, False, programmed.reason, programmed.message)
    return conditions.make(Type.READY, True, Reason.READY, f"All {desired} proxies are ready and in sync")
